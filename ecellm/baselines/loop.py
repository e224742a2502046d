"""How a task-specific model is trained: one Ray Train worker's part of it.

Each rank takes its share of every batch, whose gradient is that of the mean loss, whatever the number of ranks. After
each epoch the validation rows are measured, and a checkpoint is reported:

    model.safetensors, exp_avg.safetensors, exp_avg_sq.safetensors    weights and AdamW's moments
    best/                                                              the model of the best epoch, ready to answer
    state.json                                                         epochs done, best loss, the log, files' sizes

All else is a function of (seed, epoch), so that a run goes on as if nothing had been.
"""

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from safetensors.torch import load_file, save_file

from ecellm.baselines.learner import Learner, learner_class
from ecellm.baselines.rows import read_rows
from ecellm.config import BaselineConfig
from ecellm.errors import InputError
from ecellm.storage import Storage
from ecellm.tasks import Task
from ecellm.training.ray_train import told_refusals

logger = logging.getLogger(__name__)
BEST_DIRECTORY = "best"
STATE_NAME, _WEIGHTS_NAME = "state.json", "model.safetensors"
SIZES = "sizes"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MAX_GRAD_NORM = 1.0
_BATCHES_OF_A_WINDOW = 50


@dataclass(frozen=True)
class TaskJob:
    """What a worker is given.

    Attributes:
        config: the job's config.
        task: what is learned.
        storage: access to all paths.
        train_files: Parquet files of the training rows.
        val_files: those of the validation rows; there may be none.
    """

    config: BaselineConfig
    task: Task
    storage: Storage
    train_files: Sequence[str]
    val_files: Sequence[str]


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        num_epochs: epochs done.
        best_loss: the lowest validation loss so far.
        log: one entry for each epoch.
    """

    num_epochs: int = 0
    best_loss: float = float("inf")
    log: list[dict[str, float]] = field(default_factory=list)


def train_worker(loop_config: dict[str, Any]) -> dict[str, str]:
    """Train one task, the same on every rank; return how it ended, as `told_refusals` does."""
    return told_refusals(lambda: _train(loop_config["job"]))


def _train(job: TaskJob) -> None:
    config, context = job.config, ray.train.get_context()
    if not config.use_gpu:
        torch.set_num_threads(config.cpus_per_worker)
    learner = learner_class(config.kind)(config, job.task, job.storage)
    train = learner.examples(read_rows(job.storage, job.train_files, config.num_train_samples), is_training=True)
    val = learner.examples(read_rows(job.storage, job.val_files, None), is_training=False)
    if len(train) < context.get_world_size():
        raise InputError(f"{job.task.name}: {len(train)} training rows can be read: too few for the workers")
    torch.manual_seed(config.seed)
    model = learner.new_model().to(ray.train.torch.get_device())
    freeze_unused(model, learner, train[: config.global_batch_size])
    _Trainer(learner, model, train, val, (context.get_world_rank(), context.get_world_size())).run()


def freeze_unused(model: torch.nn.Module, learner: Learner, batch: Sequence[Any]) -> None:
    """Leave out of training what no loss depends on, such as an encoder's pooler: ranks would wait for its gradient.

    Args:
        model: the untrained model.
        learner: tells the losses.
        batch: some examples, the same on every rank.
    """
    learner.losses(model, batch, is_training=True).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


class _Trainer:
    """One rank's model, optimizer and rows."""

    def __init__(
        self, learner: Learner, model: torch.nn.Module, train: Sequence[Any], val: Sequence[Any], ranks: tuple[int, int]
    ) -> None:
        self._learner, self._config = learner, learner.config
        self._train, self._val, (self._rank, self._world) = train, val, ranks
        self._model = model
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        decays = [parameter for parameter in trained if parameter.ndim > 1]
        others = [parameter for parameter in trained if parameter.ndim <= 1]
        groups = [
            {"params": decays, "weight_decay": self._config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=self._config.learning_rate)
        self._steps_per_epoch = len(batches([0] * len(train), self._config.global_batch_size, self._world, (0, 0)))
        self._progress = Progress()

    def run(self) -> None:
        """Train all epochs that are left."""
        with tempfile.TemporaryDirectory(prefix="ecellm-best-") as scratch:
            best = Path(scratch)
            if (checkpoint := ray.train.get_checkpoint()) is not None:
                with checkpoint.as_directory() as directory:
                    self._go_on(Path(directory), best)
            model = ray.train.torch.prepare_model(self._model, move_to_device=False)
            for epoch in range(self._progress.num_epochs, self._config.num_epochs):
                start = time.monotonic()
                train_loss = self._train_epoch(model, epoch)
                val_loss = self._validate() if self._val else train_loss
                self._note(epoch, train_loss, val_loss, time.monotonic() - start, best)
                self._report(best)

    def _train_epoch(self, model: torch.nn.Module, epoch: int) -> float:
        """Return the mean training loss."""
        model.train()
        torch.manual_seed(int(np.random.SeedSequence((self._config.seed, epoch, self._rank)).generate_state(1)[0]))
        sizes = [self._learner.size(example) for example in self._train]
        total = torch.zeros(1, device=next(self._model.parameters()).device)
        order = batches(sizes, self._config.global_batch_size, self._world, (self._config.seed, epoch))
        for number, batch in enumerate(order):
            for group in self._optimizer.param_groups:
                group["lr"] = self._learning_rate(epoch * self._steps_per_epoch + number)
            own = [self._train[place] for place in batch[self._rank :: self._world]]
            losses = self._learner.losses(model, own, is_training=True)
            # Gradients are averaged over the ranks; so the sum of all losses, divided by the rows of the whole batch.
            (losses.sum() * self._world / len(batch)).backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), _MAX_GRAD_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()
            total += losses.detach().sum()
        return self._summed(total) / sum(map(len, order))

    def _learning_rate(self, step: int) -> float:
        """Return the rate of a step: it rises for the first steps, then falls to nothing, in straight lines."""
        num_steps = self._steps_per_epoch * self._config.num_epochs
        warmup = max(1, round(num_steps * self._config.warmup_share))
        share = (step + 1) / warmup if step < warmup else (num_steps - step) / max(1, num_steps - warmup)
        return self._config.learning_rate * share

    def _validate(self) -> float:
        self._model.eval()
        total = torch.zeros(1, device=next(self._model.parameters()).device)
        own = self._val[self._rank :: self._world]
        with torch.inference_mode():
            for start in range(0, len(own), self._config.global_batch_size):
                batch = own[start : start + self._config.global_batch_size]
                total += self._learner.losses(self._model, batch, is_training=False).sum()
        return self._summed(total) / len(self._val)

    def _summed(self, value: torch.Tensor) -> float:
        if self._world > 1:
            torch.distributed.all_reduce(value)
        return float(value.item())

    def _note(self, epoch: int, train_loss: float, val_loss: float, seconds: float, best: Path) -> None:
        if not np.isfinite(val_loss):
            raise InputError(
                f"{self._learner.task.name}: the validation loss after epoch {epoch + 1} is not finite: lower "
                "learning_rate"
            )
        self._progress.num_epochs = epoch + 1
        self._progress.log.append(
            {"epoch": epoch + 1, "train_loss": train_loss, "val_loss": val_loss, "seconds": seconds}
        )
        is_best = val_loss < self._progress.best_loss
        if is_best:
            self._progress.best_loss = val_loss
            if self._rank == 0:
                self._learner.save(self._model, best)
        if self._rank == 0:
            told = (self._learner.task.short_name, epoch + 1, self._config.num_epochs, train_loss, val_loss)
            mark, rate = " (best)" if is_best else "", len(self._train) / seconds
            logger.info("%s: epoch %d of %d: loss %.4f, validation %.4f%s, %.0f rows/s", *told, mark, rate)

    def _report(self, best: Path) -> None:
        """Report a checkpoint; a collective of all ranks, written by the first."""
        metrics = {"epoch": self._progress.num_epochs}
        if self._rank:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="ecellm-checkpoint-") as scratch:
            directory = Path(scratch)
            save_file(
                {name: tensor.contiguous() for name, tensor in self._model.state_dict().items()},
                directory / _WEIGHTS_NAME,
            )
            trained = [(name, own) for name, own in self._model.named_parameters() if own.requires_grad]
            for moment in _MOMENTS:
                kept = {name: self._optimizer.state[own][moment].contiguous() for name, own in trained}
                save_file(kept, directory / f"{moment}.safetensors")
            _copy(best, directory / BEST_DIRECTORY)
            values = {**vars(self._progress), "step": self._progress.num_epochs * self._steps_per_epoch}
            sizes = {
                str(path.relative_to(directory)): path.stat().st_size for path in directory.rglob("*") if path.is_file()
            }
            (directory / STATE_NAME).write_text(json.dumps({**values, SIZES: sizes}))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(scratch))

    def _go_on(self, directory: Path, best: Path) -> None:
        """Take up a checkpoint."""
        values = json.loads((directory / STATE_NAME).read_text())
        step, _ = float(values.pop("step")), values.pop(SIZES)
        self._progress = Progress(**values)
        self._model.load_state_dict(load_file(directory / _WEIGHTS_NAME))
        moments = {moment: load_file(directory / f"{moment}.safetensors") for moment in _MOMENTS}
        for name, parameter in self._model.named_parameters():
            if name in moments[_MOMENTS[0]]:
                own = {moment: moments[moment][name].to(parameter.device) for moment in _MOMENTS}
                self._optimizer.state[parameter] = {"step": torch.tensor(step), **own}
        _copy(directory / BEST_DIRECTORY, best)
        logger.info("%s: going on after epoch %d", self._learner.task.short_name, self._progress.num_epochs)


def batches(sizes: Sequence[int], batch_size: int, world: int, seed: tuple[int, int]) -> list[list[int]]:
    """Return the batches of an epoch: places of examples, shuffled, with examples of like size together.

    Args:
        sizes: of the examples, at least `world`.
        batch_size: examples of a batch; the last one may have fewer, but not fewer than `world`.
        world: number of ranks, each of which needs an example of every batch.
        seed: (seed, epoch).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    batch_size = max(batch_size, world)
    made: list[list[int]] = []
    for window in _windows(order.tolist(), batch_size * _BATCHES_OF_A_WINDOW):
        by_size = sorted(window, key=lambda place: sizes[place])
        made += [by_size[start : start + batch_size] for start in range(0, len(by_size), batch_size)]
    if len(made) > 1 and len(made[-1]) < world:
        rest = made.pop()
        made[-1] += rest
    return [made[place] for place in rng.permutation(len(made)).tolist()]


def _windows(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a flat directory."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
