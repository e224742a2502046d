"""What every Ray Train worker runs: steps, validations, checkpoints, and going on from the last checkpoint.

    deal batch -> forward and backward of each micro-batch -> step      (a step)
    flush the log -> validate -> keep the best weights -> report        (now and then)

Exact: batches and learning rate are functions of (seed, step), so a run that was killed goes on as if it had not been,
up to the rounding of sums that are added in another order if the number of workers changed. Dropout's random numbers
depend on the rank: with dropout, runs of different numbers of workers differ.
"""

import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError, find_cause
from ecellm.models import local_model
from ecellm.storage import Storage, join
from ecellm.training import checkpoint
from ecellm.training.batches import Limits, TrainingRow, deal, micro_batches, padding_share, token_weights
from ecellm.training.checkpoint import BEST_DIRECTORY, Best, TrainingState
from ecellm.training.engine import Engine, prepare_process
from ecellm.training.loss import tensors
from ecellm.training.model import build_model, special_tokens, uses_bf16
from ecellm.training.progress import Progress
from ecellm.training.rows import RowReader
from ecellm.training.schedule import learning_rate, plan_steps

logger = logging.getLogger(__name__)
REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is given.

    Attributes:
        config: the job's config.
        storage: access to all paths.
        rows_dir: training rows, absolute.
        base_model: model to tune, a local path made absolute.
        checkpoints_dir: where checkpoints and the best weights go.
    """

    config: FinetuneConfig
    storage: Storage
    rows_dir: str
    base_model: str
    checkpoints_dir: str


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train; return how it ended.

    What the user must fix is returned rather than raised: Ray Train would start the workers again, to the same end.

    Returns:
        `{}`, or `{"refused": message}`.
    """
    job: Job = settings["job"]
    _log_to_driver(rank=ray.train.get_context().get_world_rank())
    try:
        Trainer(job).run()
    except Exception as error:
        refused = find_cause(error, InputError)
        if refused is None:
            raise
        return {REFUSED: str(refused)}
    return {}


def _log_to_driver(rank: int) -> None:
    """Let the first worker's log lines reach the driver; the others only warn."""
    package = logging.getLogger("ecellm")
    package.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if not package.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"rank {rank}: %(message)s"))
        package.addHandler(handler)
        package.propagate = False


class Trainer:
    """One worker's part of a training run."""

    def __init__(self, job: Job) -> None:
        self._job, config = job, job.config
        self._config = config
        context = ray.train.get_context()
        self._rank, self._world_size = context.get_world_rank(), context.get_world_size()
        self._device = prepare_process(config)
        self._rows = RowReader(job.storage, job.rows_dir, "train")
        self._val_rows = RowReader(job.storage, job.rows_dir, "val")
        self._plan = plan_steps(config, self._rows.num_rows)
        bf16 = uses_bf16(config)
        path = local_model(job.base_model, config.base_model_revision, job.storage)
        model = build_model(path, config, bf16=bf16)
        self._pad_token_id, self._decoder_start = special_tokens(model.config)
        self._limits = Limits(config.micro_batch_size, config.micro_batch_tokens, is_packed=config.packing)
        self._state, self._progress = TrainingState(), Progress(self._plan.num_steps)
        self._engine = self._start(model, bf16=bf16)

    def _start(self, model: Any, *, bf16: bool) -> Engine:
        """Make the engine, from the last checkpoint if there is one."""
        found = ray.train.get_checkpoint()
        if found is None:
            return Engine(model, self._config, bf16=bf16, device=self._device)
        with found.as_directory() as directory:
            saved = checkpoint.load(Path(directory))
        checkpoint.load_weights_into(model, saved.weights)
        engine = Engine(model, self._config, bf16=bf16, device=self._device)
        engine.restore(saved.weights, saved.moments, saved.state.step)
        self._state = saved.state
        self._progress = Progress(self._plan.num_steps, saved.state.seconds, saved.log)
        logger.info("going on after step %d of %d", self._state.step, self._plan.num_steps)
        return engine

    def run(self) -> None:
        """Train to the last step."""
        logger.info(
            "%s rows, %d steps, %d worker(s) on %s, %s trainable parameters",
            f"{self._rows.num_rows:,}",
            self._plan.num_steps,
            self._world_size,
            self._device.type,
            f"{self._engine.num_trainable:,}",
        )
        self._progress.restart_clock()
        for step, batch in self._batches():
            self._train_step(step, batch)
            due = self._plan.is_validation(step) or self._plan.is_checkpoint(step)
            if due or step % self._config.log_every_steps == 0:
                self._progress.flush()
            if self._plan.is_validation(step) and self._val_rows.num_rows:
                self._validate(step)
            self._state = dataclasses.replace(self._state, step=step, seconds=self._progress.seconds)
            if self._plan.is_checkpoint(step):
                self._save()
            if due:
                self._progress.restart_clock()

    def _batches(self) -> Iterator[tuple[int, list[TrainingRow]]]:
        """Yield (step, global batch) from the step after the last one done."""
        step = self._state.step
        while step < self._plan.num_steps:
            epoch, first = divmod(step, self._plan.steps_per_epoch)
            batches = self._rows.epoch(
                seed=self._config.seed,
                epoch=epoch,
                global_batch_size=self._config.global_batch_size,
                first_batch=first,
            )
            for batch in batches:
                step += 1
                yield step, batch
                if step == self._plan.num_steps:
                    return

    def _epoch_after(self, step: int) -> float:
        return step / self._plan.steps_per_epoch

    def _deal(self, batch: list[TrainingRow]) -> list[list[list[int]]]:
        lengths = [row.num_tokens for row in batch]
        return deal(lengths, world_size=self._world_size, limits=self._limits)

    def _losses(
        self, batch: list[TrainingRow], weights: list[float], dealt: list[list[list[int]]]
    ) -> Iterator[tuple[list[TrainingRow], torch.Tensor]]:
        """Yield the samples and the weighted loss of each of this rank's micro-batches."""
        shares = micro_batches(
            batch,
            weights,
            dealt[self._rank],
            pad_token_id=self._pad_token_id,
            decoder_start_token_id=self._decoder_start,
            is_packed=self._limits.is_packed,
        )
        for rows, micro_batch in shares:
            yield rows, self._engine.loss(**tensors(micro_batch, self._device, self._world_size))

    def _train_step(self, step: int, batch: list[TrainingRow]) -> None:
        torch.manual_seed(_step_seed(self._config.seed, step, self._rank))
        dealt = self._deal(batch)
        losses, sample_ids = [], []
        for rows, loss in self._losses(batch, token_weights(batch, self._config.loss_normalization), dealt):
            self._engine.backward(loss)
            losses.append(loss.detach())
            sample_ids.append([row.sample_id for row in rows])
        rate = learning_rate(self._config.optimizer, step, self._plan.num_steps)
        self._engine.step(rate)
        num_tokens, num_positions = padding_share(batch, dealt, is_packed=self._limits.is_packed)
        self._progress.add(
            step=step,
            epoch=self._epoch_after(step),
            learning_rate=rate,
            grad_norm=self._engine.grad_norm,
            num_tokens=num_tokens,
            num_positions=num_positions,
            losses=losses,
            sample_ids=sample_ids,
        )

    @torch.no_grad()
    def _validate(self, step: int) -> None:
        """Compute the exact mean loss of the validation rows, shared out over the ranks; keep the best weights."""
        self._engine.train(False)
        total = torch.zeros(1, dtype=torch.float64, device=self._device)
        total_weight = 0.0
        for batch in self._val_rows.in_order(self._config.global_batch_size):
            by_sample = self._config.loss_normalization == "sample"
            weight = len(batch) if by_sample else sum(row.num_answer_tokens for row in batch)
            weights = token_weights(batch, self._config.loss_normalization)
            for _, loss in self._losses(batch, weights, self._deal(batch)):
                total += loss.double() * weight
            total_weight += weight
        self._engine.train()
        torch.distributed.all_reduce(total)
        loss_value = float(total.item()) / self._world_size / total_weight
        if not np.isfinite(loss_value):
            raise InputError(f"the validation loss after step {step} is not finite: training stopped")
        self._progress.add_validation(step=step, epoch=self._epoch_after(step), loss=loss_value)
        if self._state.best is None or loss_value < self._state.best.loss:
            self._keep_best(step, loss_value)

    def _keep_best(self, step: int, loss: float) -> None:
        """Publish the weights as the best so far; older ones stay until a checkpoint no longer names them."""
        name = f"step-{step:08d}.safetensors"
        weights = self._engine.weights(keep=self._rank == 0)
        if self._rank == 0:
            with self._job.storage.staged_file(join(self._job.checkpoints_dir, BEST_DIRECTORY, name)) as file:
                checkpoint.save_weights(weights, file)
        self._state = dataclasses.replace(self._state, best=Best(step, loss, name))

    def _save(self) -> None:
        """Report a checkpoint; a barrier."""
        is_first = self._rank == 0
        weights, moments = self._engine.gather(keep=is_first)
        metrics = {"step": self._state.step}
        if not is_first:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="ecellm-checkpoint-") as scratch:
            saved = checkpoint.Checkpoint(self._state, weights, moments, self._progress.rows)
            checkpoint.save(saved, Path(scratch))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(scratch))
        self._remove_older_best()

    def _remove_older_best(self) -> None:
        best = self._state.best
        for path in self._job.storage.list_files(join(self._job.checkpoints_dir, BEST_DIRECTORY)):
            if best is not None and Path(path).name != best.weights:
                self._job.storage.remove(path)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return a seed of its own for each step and rank: dropout after a restart is what it would have been."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
