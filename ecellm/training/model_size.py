"""The size of a model, counted without its weights: on torch's meta device a model has shapes and no numbers.

In: a model, with its adapters. Out: its parameters, and what its layers keep for the backward pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ecellm.config import FinetuneConfig
from ecellm.training.model import add_adapters

# What configs call it: most models, GPT-2, T5.
_ATTENTION_DROPOUTS = ("attention_dropout", "attn_pdrop", "dropout_rate")
_ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")


@dataclass(frozen=True)
class Layer:
    """What one layer keeps of a position for the backward pass.

    Attributes:
        kept: numbers in the precision of the run.
        kept_in_fp32: numbers in fp32, whatever that is.
        num_mask_bytes: what dropouts kept or not, a byte each.
    """

    kept: int = 0
    kept_in_fp32: int = 0
    num_mask_bytes: int = 0

    def __add__(self, other: "Layer") -> "Layer":
        """Return what both keep."""
        return Layer(
            self.kept + other.kept,
            self.kept_in_fp32 + other.kept_in_fp32,
            self.num_mask_bytes + other.num_mask_bytes,
        )

    def num_bytes(self, element: int) -> int:
        """Return the bytes of a position, `element` being those of one number."""
        return self.kept * element + 4 * self.kept_in_fp32 + self.num_mask_bytes


@dataclass(frozen=True)
class Block:
    """Layers that compute the same positions: those of a causal model, of an encoder, or of a decoder.

    Attributes:
        hidden_size: numbers of a position between two layers.
        layers: the layers, each of which checkpointing can recompute by itself.
    """

    hidden_size: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ModelSize:
    """What the estimate needs to know of a model.

    Attributes:
        num_trainable: parameters that are trained; tied ones count once.
        num_frozen: the others.
        num_frozen_linear: those of them in linear layers other than the output layer: what QLoRA keeps in 4 bits.
        vocab_size: logits of a position.
        num_heads: attention heads.
        keeps_scores: whether attention is computed step by step (eager), and keeps what it makes of scores.
        has_attention_dropout: whether some of that is left out.
        caps_scores: whether scores go through a hyperbolic tangent first (Gemma 2).
        has_position_bias: whether attention adds a matrix to its scores that is made for each layer anew (T5).
        blocks: one of a causal model; encoder and decoder of a sequence-to-sequence model.
    """

    num_trainable: int
    num_frozen: int
    num_frozen_linear: int
    vocab_size: int
    num_heads: int
    keeps_scores: bool
    has_attention_dropout: bool
    caps_scores: bool
    has_position_bias: bool
    blocks: tuple[Block, ...]

    @property
    def num_parameters(self) -> int:
        """All parameters."""
        return self.num_trainable + self.num_frozen


def measure(base: Any, config: FinetuneConfig) -> ModelSize:
    """Return the size of a base model as it will be trained; adapters are put on it.

    Args:
        base: the model of `model_loading.empty_model`.
        config: the job's config.
    """
    model = base
    if config.uses_adapters:
        with torch.device("meta"):
            model = add_adapters(base, config.lora, seed=config.seed)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    attention = config.attention if config.attention != "auto" else base.config._attn_implementation  # noqa: SLF001
    text = base.config.get_text_config()
    parts = [base.get_encoder(), base.get_decoder()] if base.config.is_encoder_decoder else [base]
    return ModelSize(
        num_trainable=trained,
        num_frozen=sum(parameter.numel() for parameter in model.parameters()) - trained,
        num_frozen_linear=_num_frozen_linear(base),
        vocab_size=text.vocab_size,
        num_heads=text.num_attention_heads,
        keeps_scores=attention == "eager",
        has_attention_dropout=any(getattr(text, name, 0) for name in _ATTENTION_DROPOUTS),
        caps_scores=getattr(text, "attn_logit_softcapping", None) is not None,
        has_position_bias=any(hasattr(module, "relative_attention_bias") for module in base.modules()),
        blocks=tuple(_block(part, text.hidden_size) for part in parts),
    )


def _linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _num_frozen_linear(base: Any) -> int:
    head = {id(parameter) for parameter in base.get_output_embeddings().parameters()}
    weights = {id(module.weight): module.weight for module in base.modules() if _linear(module)}
    return sum(weight.numel() for key, weight in weights.items() if key not in head and not weight.requires_grad)


def _block(part: Any, hidden_size: int) -> Block:
    from transformers.modeling_layers import GradientCheckpointingLayer

    # A model without them is one layer: checkpointing cannot help it.
    layers = [module for module in part.modules() if isinstance(module, GradientCheckpointingLayer)] or [part]
    return Block(hidden_size, tuple(_layer(layer, hidden_size) for layer in layers))


def _layer(layer: nn.Module, hidden_size: int) -> Layer:
    """Return what a layer keeps: the numbers that PyTorch's backward formulas ask for, each storage once.

        linear     its input if its weights are trained, which layers that read the same share; an adapter's dropout
                   makes a copy of its own. Its output is kept by what follows (attention keeps queries, keys, values),
                   except the last one's of a module, which goes into a sum
        attention  its output; keys and values as often as there are queries, which transformers repeats them for where
                   a batch is padded
        norm       its input: that sum. RMS norms compute in fp32, and keep the quotient too where weights are trained
        MLP        what the activation keeps beside its input, see `kept_by`; a gate keeps the activation's output
        dropout    a byte a number

    For GPT-2 whose weights are trained this gives the 34 bytes of `hidden_size` that Korthikanti et al.
    (arXiv:2205.05198, section 4.1) count in 16 bits: input of the queries, keys and values 2, these 6, attention's
    output 2, norms 4, the MLP's two inputs 2 + 8, the activation's 8, masks 2.
    """
    result = Layer()
    for module in _modules(layer):
        result += _kept_by_linears(module)
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout) and child.p:
                result += Layer(num_mask_bytes=hidden_size)
            elif _is_norm(child):
                result += _kept_by_norm(module, name, child)
    return result


def _modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a module and all below it, but not what an adapted layer is made of."""
    yield module
    for child in module.children():
        if not hasattr(child, "base_layer"):
            yield from _modules(child)


@dataclass(frozen=True)
class _Linear:
    """A linear layer, with its adapter.

    Attributes:
        size_in: numbers of a position that it reads.
        size_out: numbers that it writes.
        reads_trained: whether weights are trained that read its input: its own or its adapter's.
        has_dropout: whether its adapter reads a copy with some left out.
        is_rotated: if it makes queries, keys and values at once: whether the former two are rotated, and thus copied,
            while the values still hold the memory of all three. Taken to be so in all models but GPT-2.
    """

    size_in: int
    size_out: int
    reads_trained: bool
    has_dropout: bool
    is_rotated: bool


def _linears(module: nn.Module) -> list[_Linear]:
    """Return the linear layers directly below a module, in its order, which is that of the computation."""
    result = []
    for child in module.children():
        layer: Any = getattr(child, "base_layer", child)
        if _linear(layer):
            size_in, size_out = layer.weight.shape[::-1] if isinstance(layer, nn.Linear) else layer.weight.shape
            dropouts = getattr(child, "lora_dropout", {})
            has_dropout = any(getattr(dropout, "p", 0) for dropout in dropouts.values())
            trained = any(own.requires_grad for own in child.parameters())
            result.append(
                _Linear(size_in, size_out, trained and not has_dropout, has_dropout, isinstance(layer, nn.Linear))
            )
    return result


def _kept_by_linears(module: nn.Module) -> Layer:
    """Return what is kept by attention, an MLP, or whatever has linear layers directly below it."""
    linears = _linears(module)
    if not linears:
        return Layer()
    *first, last = linears
    dropped = sum(own.size_in for own in linears if own.has_dropout)
    shared = sum({own.size_in for own in first if own.reads_trained})
    outputs = sum(own.size_out for own in first)
    own_input = last.size_in if last.reads_trained else 0
    if _is_attention(module):
        inner = last.size_in
        outputs = max(outputs, 3 * inner)
        if len(first) == 1 and first[0].is_rotated:
            outputs += 2 * inner
    else:
        is_gated = outputs >= 2 * last.size_in
        inner = own_input + last.size_in * kept_by(_activation(module), is_output_kept=is_gated or last.reads_trained)
        if not is_gated:
            inner -= own_input  # which is the activation's output
    return Layer(kept=dropped + shared + outputs + inner, num_mask_bytes=dropped)


def _is_attention(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "attention" in name or "attn" in name


def _activation(module: nn.Module) -> nn.Module:
    found = (child for child in module.children() if type(child).__module__ in _ACTIVATIONS)
    return next(found, nn.GELU())


def kept_by(activation: nn.Module, *, is_output_kept: bool) -> int:
    """Return how many numbers an activation keeps of each one that it reads, beside that one: found by trying.

    GELU in one piece keeps nothing else, taken step by step (GPT-2, Flan-T5) three more: half of its input, the
    hyperbolic tangent, and that plus one. ReLU keeps its output instead of its input.

    Args:
        activation: an elementwise function.
        is_output_kept: whether what follows keeps its output.
    """
    read = torch.rand(8, device="cpu", requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.numel() == read.numel():
            kept.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        written = activation(read)
    if is_output_kept:
        kept.append(written)
    return max(0, len({own.data_ptr() for own in kept}) - 1)


def _is_norm(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 1


def _kept_by_norm(parent: nn.Module, name: str, norm: Any) -> Layer:
    # One of queries or keys may be of a head, and compute each head.
    size = getattr(getattr(parent, name.replace("norm", "proj"), None), "out_features", norm.weight.numel())
    if isinstance(norm, nn.LayerNorm):
        return Layer(kept=size)
    return Layer(kept_in_fp32=2 * size if norm.weight.requires_grad else size)
