"""The training log: losses stay on the device until a line is due, so that no step waits for a number.

`add` takes a step's figures; `flush` sums the losses over ranks in one collective, stops the run if one is not finite,
appends rows of the contract `TRAINING_LOG`, and writes one line.
"""

import logging
import math
import time
from dataclasses import dataclass, field
from datetime import timedelta

import torch

from ecellm.errors import InputError

logger = logging.getLogger(__name__)


@dataclass
class _PendingStep:
    """A step whose figures are still on the device."""

    step: int
    epoch: float
    learning_rate: float
    grad_norm: torch.Tensor | float
    num_tokens: int
    num_positions: int
    losses: list[torch.Tensor]
    sample_ids: list[list[str]]


@dataclass
class Progress:
    """Collects the rows of the training log.

    Attributes:
        num_steps: steps of the whole run.
        earlier_seconds: time that earlier attempts spent.
        rows: the log so far, earlier attempts included.
    """

    num_steps: int
    earlier_seconds: float = 0.0
    rows: list[dict[str, object]] = field(default_factory=list)
    _pending: list[_PendingStep] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)
    _interval_start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since training began, earlier attempts included."""
        return self.earlier_seconds + time.monotonic() - self._start

    def restart_clock(self) -> None:
        """Leave out of the throughput what was not training: validation, checkpoints, start."""
        self._interval_start = time.monotonic()

    def add(
        self,
        *,
        step: int,
        epoch: float,
        learning_rate: float,
        grad_norm: torch.Tensor | float,
        num_tokens: int,
        num_positions: int,
        losses: list[torch.Tensor],
        sample_ids: list[list[str]],
    ) -> None:
        """Note a step.

        Args:
            step: its number, from 1.
            epoch: epochs done after it.
            learning_rate: its learning rate.
            grad_norm: before clipping.
            num_tokens: real tokens of the global batch.
            num_positions: positions that all ranks computed for it.
            losses: this rank's weighted losses, one a micro-batch, on the device.
            sample_ids: the samples of each micro-batch.
        """
        self._pending.append(
            _PendingStep(step, epoch, learning_rate, grad_norm, num_tokens, num_positions, losses, sample_ids)
        )

    def flush(self) -> None:
        """Turn the steps noted into rows; a collective of all ranks.

        Raises:
            InputError: a loss is not finite; the message names the step and the samples.
        """
        if not self._pending:
            return
        local = torch.stack([torch.stack(item.losses).sum() for item in self._pending]).double()
        torch.distributed.all_reduce(local)
        # The weights carry a factor of the world size, because gradients are averaged over ranks.
        losses = (local / torch.distributed.get_world_size()).tolist()
        norms = [float(item.grad_norm) for item in self._pending]
        self._refuse_non_finite(losses, norms)
        elapsed = time.monotonic() - self._interval_start
        tokens_per_second = sum(item.num_tokens for item in self._pending) / max(elapsed, 1e-9)
        for item, loss, norm in zip(self._pending, losses, norms, strict=True):
            self.rows.append(
                {
                    "step": item.step,
                    "epoch": item.epoch,
                    "kind": "train",
                    "loss": loss,
                    "learning_rate": item.learning_rate,
                    "grad_norm": norm,
                    "tokens_per_second": tokens_per_second,
                    "padding_share": 1.0 - item.num_tokens / item.num_positions,
                    "seconds": self.seconds,
                }
            )
        self._write_line(self._pending, losses, tokens_per_second, elapsed)
        self._pending = []
        self.restart_clock()

    def add_validation(self, *, step: int, epoch: float, loss: float) -> None:
        """Append a validation."""
        row = dict.fromkeys(("learning_rate", "grad_norm", "tokens_per_second", "padding_share"))
        self.rows.append({"step": step, "epoch": epoch, "kind": "val", "loss": loss, **row, "seconds": self.seconds})
        logger.info("step %d/%d: validation loss %.4f", step, self.num_steps, loss)

    def _refuse_non_finite(self, losses: list[float], norms: list[float]) -> None:
        # DeepSpeed reports a norm that is not finite as -1.
        sound = [
            math.isfinite(loss) and math.isfinite(norm) and norm >= 0 for loss, norm in zip(losses, norms, strict=True)
        ]
        if all(sound):
            return
        item = self._pending[sound.index(False)]
        mine = [
            sample
            for loss, samples in zip(item.losses, item.sample_ids, strict=True)
            if not torch.isfinite(loss).item() or math.isfinite(losses[sound.index(False)])
            for sample in samples
        ]
        gathered: list[list[str]] = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(gathered, mine)
        samples = ", ".join(sorted({sample for part in gathered for sample in part}))
        raise InputError(
            f"loss or gradient of step {item.step} is not finite (samples: {samples}): training stopped. "
            "A lower learning rate helps most often; the last checkpoint is sound"
        )

    def _write_line(self, steps: list[_PendingStep], losses: list[float], rate: float, elapsed: float) -> None:
        last = steps[-1]
        padding = 1.0 - sum(item.num_tokens for item in steps) / sum(item.num_positions for item in steps)
        remaining = (self.num_steps - last.step) * elapsed / len(steps)
        logger.info(
            "step %d/%d epoch %.2f: loss %.4f, learning rate %.2e, %s tokens/s, padding %.1f %%, %s left",
            last.step,
            self.num_steps,
            last.epoch,
            sum(losses) / len(losses),
            last.learning_rate,
            f"{rate:,.0f}",
            100 * padding,
            timedelta(seconds=round(remaining)),
        )
