"""Whether a model keeps packed samples apart: asked of the model itself, before the first step.

transformers tells samples in a row by their positions. An architecture that does not (state-space layers, an attention
of its own) would let each sample see those before it: the loss would be wrong, and nothing would say so.
"""

from collections.abc import Sequence

import torch

from ecellm.errors import InputError
from ecellm.training.batches import TrainingRow, collate
from ecellm.training.loss import tensors
from ecellm.training.passes import Passes

# What bf16 rounds, kernels add in another order; samples that see each other differ by more.
_TOLERANCE = 0.02


@torch.no_grad()
def check_packing(passes: Passes, rows: Sequence[TrainingRow]) -> None:
    """Compare the losses of samples in one packed row with those that they have alone; a collective of all ranks.

    Args:
        passes: how batches are computed.
        rows: two or more samples, the same on every rank.

    Raises:
        InputError: they differ.
    """
    engine = passes.engine
    engine.train(False)
    packed = [_loss(passes, rows, place) for place in range(len(rows))]
    alone = [_loss(passes, [row], 0) for row in rows]
    engine.train()
    worst = max(abs(mine - own) / max(1.0, abs(own)) for mine, own in zip(packed, alone, strict=True))
    if not worst <= _TOLERANCE:
        shown = ", ".join(f"{mine:.4f} instead of {own:.4f}" for mine, own in zip(packed, alone, strict=True))
        raise InputError(
            f"packing=true, but this model does not keep packed samples apart: their losses are {shown}. "
            "Use packing=false"
        )


def _loss(passes: Passes, rows: Sequence[TrainingRow], place: int) -> float:
    """Return the mean loss of one of the samples of a packed row."""
    weights = [1 / row.num_answer_tokens if number == place else 0.0 for number, row in enumerate(rows)]
    batch = collate(rows, weights, pad_token_id=passes.pad_token_id, decoder_start_token_id=None, is_packed=True)
    return float(passes.engine.loss(**tensors(batch, passes.device)))
