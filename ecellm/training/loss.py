"""The loss on answers: hidden states are narrowed to the answer's positions before they reach the output layer.

Computing logits everywhere is most of the work for a small model with a large vocabulary (see the model's head: hidden
size x vocabulary per token), and prompts are long where answers are short. The narrowing is a hook in front of the
output embeddings, so that whatever the model does around them (LoRA on lm_head, soft-capping, scaling) stays its own.

Of the logits one copy and their gradient are in memory, in the model's own dtype; what needs fp32 is computed some
16 MiB at a time (PyTorch's own cross entropy holds three more copies, in fp32).
"""

from typing import Any

import torch
from torch import nn

from ecellm.training.batches import MicroBatch

_CHUNK_ELEMENTS = 4 << 20


class _ChunkedCrossEntropy(torch.autograd.Function):
    """sum(weights * cross entropy), whose gradient is made on the way forward, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; see `weighted_cross_entropy`."""
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        rows = max(1, _CHUNK_ELEMENTS // logits.shape[1])
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            index, weight = targets[part, None], weights[part]
            log_probabilities = torch.log_softmax(logits[part].float(), dim=-1)
            total -= (log_probabilities.gather(1, index)[:, 0] * weight).sum()
            if gradient is not None:
                # d loss / d logits = weight * (softmax - one-hot)
                slope = log_probabilities.exp_()
                slope.scatter_add_(1, index, -torch.ones_like(index, dtype=slope.dtype))
                gradient[part] = slope.mul_(weight[:, None])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        """Return the gradient made before, times that of the scalar."""
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else gradient.mul_(outer[0].to(gradient.dtype))), None, None


def weighted_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return sum(weights * cross entropy), computed in fp32 whatever the dtype of the logits: a scalar, fp32.

    Its backward pass may run once.

    Args:
        logits: [N, vocabulary].
        targets: int64 [N].
        weights: float32 [N].
    """
    result: torch.Tensor = _ChunkedCrossEntropy.apply(logits, targets, weights)
    return result


class AnswerLoss(nn.Module):
    """A language model whose forward pass gives the weighted loss of the answers.

    Attributes:
        model: the model, causal or sequence-to-sequence, with or without adapters.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._target_index: torch.Tensor | None = None
        language_model: Any = model
        head = language_model.get_output_embeddings()
        assert isinstance(head, nn.Module), "the model has no output layer"
        head.register_forward_pre_hook(self._narrow)

    def _narrow(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._target_index is None:
            return None
        hidden = inputs[0]
        return hidden.reshape(-1, hidden.shape[-1]).index_select(0, self._target_index).unsqueeze(0), *inputs[1:]

    def answer_logits(self, inputs: dict[str, torch.Tensor], target_index: torch.Tensor) -> torch.Tensor:
        """Return the logits at `target_index` [N] of the flattened outputs: [N, vocabulary]."""
        self._target_index = target_index
        try:
            logits = self.model(**inputs, use_cache=False).logits
        finally:
            self._target_index = None
        assert logits.shape[:2] == (1, len(target_index)), "the model's logits do not come from its output embeddings"
        return logits[0]

    def forward(
        self,
        inputs: dict[str, torch.Tensor],
        target_index: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Return sum(weights * cross entropy) over the targets: a scalar, fp32."""
        return weighted_cross_entropy(self.answer_logits(inputs, target_index), targets, weights)


def tensors(batch: MicroBatch, device: torch.device, weight_factor: float = 1.0) -> dict[str, Any]:
    """Return the arguments of `AnswerLoss.forward` for a micro-batch.

    Args:
        batch: the micro-batch.
        device: where the model is.
        weight_factor: multiplies the weights; the world size, where gradients are averaged over ranks.
    """

    def move(array: Any) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    inputs = {"input_ids": move(batch.input_ids)}
    if batch.attention_mask is not None:
        inputs["attention_mask"] = move(batch.attention_mask)
    if batch.position_ids is not None:
        inputs["position_ids"] = move(batch.position_ids)
    if batch.decoder_input_ids is not None:
        inputs["decoder_input_ids"] = move(batch.decoder_input_ids)
    return {
        "inputs": inputs,
        "target_index": move(batch.target_index),
        "targets": move(batch.targets),
        "weights": move(batch.weights) * weight_factor,
    }
