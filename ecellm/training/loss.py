"""The loss on answers: hidden states are narrowed to the answer's positions before they reach the output layer.

Computing logits everywhere is most of the work for a small model with a large vocabulary (see the model's head: hidden
size x vocabulary per token), and prompts are long where answers are short. The narrowing is a hook in front of the
output embeddings, so that whatever the model does around them (LoRA on lm_head, soft-capping, scaling) stays its own.
"""

from typing import Any

import torch
from torch import nn

from ecellm.training.batches import MicroBatch


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
        logits = self.answer_logits(inputs, target_index)
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        return (losses * weights).sum()


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
    if batch.decoder_input_ids is not None:
        inputs["decoder_input_ids"] = move(batch.decoder_input_ids)
    return {
        "inputs": inputs,
        "target_index": move(batch.target_index),
        "targets": move(batch.targets),
        "weights": move(batch.weights) * weight_factor,
    }
