"""The training log: losses stay on the device until a line is due, so that no step waits for a number.

`add` takes a step's figures; `flush` gathers losses and memory of all ranks in one collective, stops the run if a loss
is not finite, appends rows of the contract `TRAINING_LOG`, and writes one line:

    step 40/120 epoch 0.33: loss 0.1234, learning rate 1.00e-04, 12,345 tokens/s, padding 1.2 %, MFU 41.0 %, memory
    23.4 GiB, 0:12:34 left
"""

import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ecellm.errors import InputError

logger = logging.getLogger(__name__)
_GIB = 2**30
_TRAINING_COLUMNS = ("learning_rate", "grad_norm", "tokens_per_second", "padding_share", "mfu", "memory_gib")


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


def memory_gib(device: torch.device) -> float:
    """Return the GPU memory that tensors took at most since the last call; on a CPU, what this process takes now."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most / _GIB
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize() / _GIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return most / _GIB if sys.platform == "darwin" else most * 1024 / _GIB


def accuracy_text(scores: Mapping[str, float]) -> str:
    """Return accuracies by task in short, tasks by their initials where these tell them apart: `PM 0.91, SA 0.55`."""
    initials = ["".join(word[0] for word in name.split("_") if word).upper() for name in scores]
    are_clear = len(set(initials)) == len(initials) and all(len(name) > 1 for name in initials)
    names = initials if are_clear else list(scores)
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(names, scores.values(), strict=True))


@dataclass
class Progress:
    """Collects the rows of the training log.

    Attributes:
        num_steps: steps of the whole run.
        earlier_seconds: time that earlier attempts spent.
        rows: the log so far, earlier attempts included.
        mfu_of: from tokens per second to the model FLOP/s utilisation, None where the peak is not known (see flops.py).
    """

    num_steps: int
    earlier_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    mfu_of: Callable[[float], float | None] = field(default=lambda _: None, kw_only=True)
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
        losses, memory = self._gather()
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
                    "mfu": self.mfu_of(tokens_per_second),
                    "memory_gib": memory,
                    "scores": None,
                    "seconds": self.seconds,
                }
            )
        self._write_line(losses, tokens_per_second, memory, elapsed)
        self._pending = []
        self.restart_clock()

    def add_validation(
        self, *, step: int, epoch: float, loss: float, scores: Mapping[str, float] | None = None, is_best: bool = False
    ) -> None:
        """Append a validation.

        Args:
            step: after which step.
            epoch: epochs done.
            loss: mean loss of the validation rows.
            scores: accuracy of generated answers by task; None if none were generated.
            is_best: whether no earlier validation was as good.
        """
        nothing: dict[str, object] = dict.fromkeys(_TRAINING_COLUMNS)
        # As pyarrow gives a map back, so that the rows of earlier attempts look the same.
        pairs = list(scores.items()) if scores else None
        row = {"step": step, "epoch": epoch, "kind": "val", "loss": loss, "scores": pairs, "seconds": self.seconds}
        self.rows.append(nothing | row)
        best = " (best)" if is_best else ""
        accuracy = f", accuracy {accuracy_text(scores)}" if scores else ""
        logger.info("step %d/%d: validation loss %.4f%s%s", step, self.num_steps, loss, best, accuracy)

    def _gather(self) -> tuple[list[float], float]:
        """Return the losses of the steps noted and the memory in GiB of the rank that takes the most."""
        losses = torch.stack([torch.stack(item.losses).sum() for item in self._pending]).double()
        world_size = torch.distributed.get_world_size()
        memory = torch.zeros(world_size, dtype=losses.dtype, device=losses.device)
        memory[torch.distributed.get_rank()] = memory_gib(losses.device)
        gathered = torch.cat([losses, memory])
        torch.distributed.all_reduce(gathered)
        figures = gathered.tolist()
        # The weights carry a factor of the world size, because gradients are averaged over ranks.
        return [loss / world_size for loss in figures[: len(losses)]], max(figures[len(losses) :])

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

    def _write_line(self, losses: list[float], rate: float, memory: float, elapsed: float) -> None:
        steps, last = self._pending, self._pending[-1]
        padding = 1.0 - sum(item.num_tokens for item in steps) / sum(item.num_positions for item in steps)
        share = self.mfu_of(rate)
        remaining = (self.num_steps - last.step) * elapsed / len(steps)
        logger.info(
            "step %d/%d epoch %.2f: loss %.4f, learning rate %.2e, %s tokens/s, padding %.1f %%, MFU %s, "
            "memory %.1f GiB, %s left",
            last.step,
            self.num_steps,
            last.epoch,
            sum(losses) / len(losses),
            last.learning_rate,
            f"{rate:,.0f}",
            100 * padding,
            "n/a" if share is None else f"{100 * share:.1f} %",
            memory,
            timedelta(seconds=round(remaining)),
        )
