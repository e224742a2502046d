"""A smoke test before training: what the longest rows need fits, and a checkpoint brings everything back.

Two global batches of micro-batches as large as they can be go forward and backward and through an optimizer step; the
state is gathered, put back, and must give the same loss. Then the model is as it was before.
"""

import logging

import torch

from ecellm.errors import InputError
from ecellm.training import checkpoint
from ecellm.training.batches import TrainingRow, token_weights
from ecellm.training.passes import Passes

logger = logging.getLogger(__name__)
_STEPS = 2
_TOLERANCE = 1e-4


def largest_batch(longest: TrainingRow, passes: Passes, most_rows: int) -> list[TrainingRow]:
    """Return a global batch that gives every rank one micro-batch as large as its limits, and `most_rows`, allow."""
    number = 1
    while number < most_rows and passes.limits.allows(number + 1, (number + 1) * longest.num_tokens):
        number += 1
    return [longest] * (number * passes.world_size)


def run_smoke(passes: Passes, longest: TrainingRow, learning_rate: float, *, most_rows: int) -> None:
    """Do what a run does, twice at its largest, and leave no trace; a collective of all ranks.

    Args:
        passes: how batches are computed.
        longest: the longest training row.
        learning_rate: of the steps.
        most_rows: rows of a global batch that a rank gets at most.

    Raises:
        InputError: the memory does not suffice, a loss is not finite, or the state does not come back.
    """
    engine = passes.engine
    batch = largest_batch(longest, passes, most_rows)
    before = _SharedOut(passes, with_moments=False)
    try:
        for _ in range(_STEPS):
            _step(passes, batch, learning_rate)
        saved = _SharedOut(passes)
        expected = _loss(passes, batch)
        engine.start_over(before)  # what comes back must not be what was left there
        engine.restore(saved, _STEPS)
        again = _loss(passes, batch)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"smoke: {len(batch) // passes.world_size} rows of {longest.num_tokens:,} tokens a forward pass do not fit "
            f"({str(error).splitlines()[0]}). Lower micro_batch_size or micro_batch_tokens, set "
            "gradient_checkpointing=true, or raise deepspeed.stage"
        ) from None
    if not abs(expected - again) <= _TOLERANCE * max(1.0, abs(expected)):
        raise InputError(f"smoke: a restored checkpoint gives the loss {again:.6f} instead of {expected:.6f}")
    engine.start_over(before)
    logger.info(
        "smoke: %d steps of %d rows of %s tokens on each worker, checkpoint and restore: fine (loss %.4f)",
        _STEPS,
        len(batch) // passes.world_size,
        f"{longest.num_tokens:,}",
        expected,
    )


def _step(passes: Passes, batch: list[TrainingRow], learning_rate: float) -> None:
    torch.manual_seed(0)
    for _, loss in passes.losses(batch, token_weights(batch, "sample"), passes.deal(batch)):
        if not torch.isfinite(loss):
            raise InputError(f"smoke: the loss of sample {batch[0].sample_id} is not finite")
        passes.engine.backward(loss)
    passes.engine.step(learning_rate)


@torch.no_grad()
def _loss(passes: Passes, batch: list[TrainingRow]) -> float:
    passes.engine.train(False)
    losses = [loss for _, loss in passes.losses(batch, token_weights(batch, "sample"), passes.deal(batch))]
    passes.engine.train()
    return float(torch.stack(losses).sum())


class _SharedOut:
    """The state by label, each tensor kept by one rank, which hands it to all when it is asked for (by all)."""

    def __init__(self, passes: Passes, *, with_moments: bool = True) -> None:
        engine = passes.engine
        self._owners = checkpoint.owners(engine.sizes, passes.world_size)
        self._own = engine.gather(self._owners, with_moments=with_moments)
        self._passes = passes
        self._shapes: dict[str, torch.Size] = {}
        gathered: list[dict[str, torch.Size]] = [{} for _ in range(passes.world_size)]
        torch.distributed.all_gather_object(gathered, {name: tensor.shape for name, tensor in self._own.items()})
        for shapes in gathered:
            self._shapes |= shapes

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __getitem__(self, name: str) -> torch.Tensor:
        owner = self._owners[name.split("/", 1)[1]]
        value = self._own[name] if name in self._own else torch.empty(self._shapes[name])
        value = value.to(self._passes.device)
        torch.distributed.broadcast(value, src=owner)
        return value.cpu()
