"""Adapted linear layers in one piece: what peft computes in five passes over a layer's output, in one.

    peft      y = W x;  u = B A x;  v = u * s;  y + v       each pass reads and writes all of a layer's output
    here      y = W x;  y += s * B (A x)                    the sum is made by the matrix product itself (GEMM's beta)

Backward the same: the gradient of x is one product, to which the adapter's is added by the next one. On the layers of a
small model, which wait for memory rather than for arithmetic, this is a tenth to a fifth of a step. The formulas are
those of LoRA (Hu et al., arXiv:2106.09685, section 4.1).
"""

from types import MethodType
from typing import Any

import torch
from torch import nn


class _AdaptedLinear(torch.autograd.Function):
    """y = x W' + b + s (d A') B', where d is x after dropout; W and b are frozen."""

    @staticmethod
    def forward(  # noqa: PLR0917  torch hands them over by position
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Return the output; see `forward_in_one_piece`."""
        rows = x.reshape(-1, x.shape[-1])
        adapted = rows if dropped is None else dropped.reshape(rows.shape)
        low = adapted @ down.t()
        result = nn.functional.linear(rows, weight, bias)
        result.addmm_(low, up.t(), alpha=scaling)
        ctx.scaling, ctx.has_dropout, ctx.shape = scaling, dropped is not None, x.shape
        ctx.save_for_backward(adapted, low, weight, down, up)
        return result.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, d, A and B."""
        adapted, low, weight, down, up = ctx.saved_tensors
        slope = outer[0].reshape(-1, weight.shape[0])
        low_slope = (slope @ up).mul_(ctx.scaling)
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = slope @ weight
            if not ctx.has_dropout:
                of_x.addmm_(low_slope, down)
            of_x = of_x.view(ctx.shape)
        if ctx.has_dropout and ctx.needs_input_grad[1]:
            of_dropped = (low_slope @ down).view(ctx.shape)
        of_up = (slope.t() @ low).mul_(ctx.scaling)
        return of_x, of_dropped, None, None, low_slope.t() @ adapted, of_up, None


def forward_in_one_piece(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return what peft gives for `x` [..., in]: [..., out]; by peft itself where this way does not fit."""
    name = layer.active_adapters[0]
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    base = layer.base_layer
    is_plain = not (layer.disable_adapters or layer.merged or args or kwargs) and torch.is_grad_enabled()
    if not is_plain or not x.dtype == base.weight.dtype == down.dtype == up.dtype:
        result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    dropout = layer.lora_dropout[name]
    dropped = dropout(x) if layer.training and not isinstance(dropout, nn.Identity) else None
    output: torch.Tensor = _AdaptedLinear.apply(x, dropped, base.weight, base.bias, down, up, layer.scaling[name])
    return output


def fuse_adapters(model: nn.Module) -> int:
    """Let the plain adapted layers of a peft model compute in one piece; return how many they are.

    Left to peft: layers in 4 bits, and variants of LoRA (DoRA and others). Not for ZeRO-3, which gathers the weights of
    a module when that module is called.
    """
    from peft.tuners.lora import Linear

    count = 0
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear and _is_plain(module):
            module.forward = MethodType(forward_in_one_piece, module)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    names = layer.active_adapters
    if len(names) != 1 or layer.lora_variant or layer.base_layer.weight.requires_grad:
        return False
    return not layer.lora_bias[names[0]] and layer.lora_B[names[0]].bias is None
