"""Forward passes over a global batch: this rank's share of it, as weighted losses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ecellm.training.batches import TrainingRow, micro_batches
from ecellm.training.dealing import Limits, Part, deal
from ecellm.training.engine import Engine
from ecellm.training.loss import tensors

Dealt = list[list[Part]]


@dataclass(frozen=True)
class Passes:
    """How one rank computes batches.

    Attributes:
        engine: the model.
        limits: of one forward pass.
        pad_token_id: fills up short samples.
        decoder_start_token_id: of a sequence-to-sequence model; None for causal ones.
        device: of the model.
        rank: of this worker.
        world_size: number of workers.
    """

    engine: Engine
    limits: Limits
    pad_token_id: int
    decoder_start_token_id: int | None
    device: torch.device
    rank: int
    world_size: int

    def deal(self, batch: Sequence[TrainingRow]) -> Dealt:
        """Deal a global batch to all ranks: indices by rank and micro-batch."""
        return deal([row.num_tokens for row in batch], world_size=self.world_size, limits=self.limits)

    def losses(
        self, batch: Sequence[TrainingRow], weights: Sequence[float], dealt: Dealt
    ) -> Iterator[tuple[list[TrainingRow], torch.Tensor]]:
        """Yield the samples and the weighted loss of each of this rank's micro-batches.

        The weights carry a factor of the world size, because gradients are averaged over ranks.

        Args:
            batch: the global batch.
            weights: weight of every answer token of each sample.
            dealt: what `deal` returned.
        """
        shares = micro_batches(
            batch,
            weights,
            dealt[self.rank],
            pad_token_id=self.pad_token_id,
            decoder_start_token_id=self.decoder_start_token_id,
            is_packed=self.limits.is_packed,
        )
        for rows, micro_batch in shares:
            yield rows, self.engine.loss(**tensors(micro_batch, self.device, self.world_size))
