"""Whether a model keeps packed samples apart: asked of the model itself, before the first step of every attempt.

transformers tells samples in a row by their positions. An architecture that does not (state-space layers, an attention
of its own) would let each sample see those before it: the loss would be wrong, and nothing would say so. So the first
sample of a row is exchanged for another of the same length: the losses of the others must stay as they are. Shapes and
kernels are the same both times, so that even in bf16 nothing else changes them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ecellm.errors import InputError
from ecellm.training.batches import TrainingRow, collate
from ecellm.training.loss import tensors
from ecellm.training.passes import Passes

_TOLERANCE = 1e-3


@torch.no_grad()
def check_packing(passes: Passes, rows: Sequence[TrainingRow]) -> None:
    """Compare the losses of samples behind one sample with those behind another; a collective of all ranks.

    Args:
        passes: how batches are computed.
        rows: two or more samples, the same on every rank.

    Raises:
        InputError: they differ.
    """
    engine = passes.engine
    other = dataclasses.replace(rows[0], input_ids=np.resize(rows[1].input_ids, len(rows[0].input_ids)))
    engine.train(False)
    before = [_loss(passes, rows, place) for place in range(1, len(rows))]
    after = [_loss(passes, [other, *rows[1:]], place) for place in range(1, len(rows))]
    engine.train()
    worst = max(abs(own - changed) / max(1.0, abs(own)) for own, changed in zip(before, after, strict=True))
    if not worst <= _TOLERANCE:
        shown = ", ".join(f"{changed:.4f} instead of {own:.4f}" for own, changed in zip(before, after, strict=True))
        raise InputError(
            "packing=true, but this model does not keep packed samples apart: behind another sample their losses are "
            f"{shown}. Use packing=false"
        )


def _loss(passes: Passes, rows: Sequence[TrainingRow], place: int) -> float:
    """Return the mean loss of one of the samples of a packed row."""
    weights = [1 / row.num_answer_tokens if number == place else 0.0 for number, row in enumerate(rows)]
    batch = collate(rows, weights, pad_token_id=passes.pad_token_id, decoder_start_token_id=None, is_packed=True)
    return float(passes.engine.loss(**tensors(batch, passes.device)))
