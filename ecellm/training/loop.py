"""What every Ray Train worker runs: steps, validations, checkpoints, and going on from the last checkpoint.

    deal batch -> forward and backward of each micro-batch -> step      (a step)
    flush the log -> validate -> keep the best weights -> report        (now and then)

Exact: batches and learning rate are functions of (seed, step), so a run that was killed goes on as if it had not been,
up to the rounding of sums that are added in another order if the number of workers changed. Dropout's random numbers
depend on the rank: with dropout, runs of different numbers of workers differ.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import ray.train
import torch

from ecellm.errors import InputError, find_cause
from ecellm.flops import mfu, peak_flops
from ecellm.models import local_model
from ecellm.prompts.tokenizer import load_tokenizer
from ecellm.redaction import RedactingFormatter
from ecellm.training import checkpoint
from ecellm.training.answers import answer, picked_positions
from ecellm.training.batches import TrainingRow, padding_share, token_weights
from ecellm.training.checkpoint import TrainingState
from ecellm.training.dealing import Limits
from ecellm.training.engine import Engine, prepare_process
from ecellm.training.example_view import marked_example
from ecellm.training.job import Job
from ecellm.training.model import build_model, num_parameters, special_tokens, uses_bf16
from ecellm.training.packing_check import check_packing
from ecellm.training.passes import Passes
from ecellm.training.preemption import PreemptionWatch
from ecellm.training.progress import Progress
from ecellm.training.ray_train import told_refusals
from ecellm.training.recovery import Found, find_checkpoints
from ecellm.training.rows import RowReader
from ecellm.training.saving import Saver, take_up
from ecellm.training.schedule import learning_rate, plan_steps
from ecellm.training.smoke import run_smoke
from ecellm.training.trackers import Trackers, trackers_of

logger = logging.getLogger(__name__)
T = TypeVar("T")
_CHECKED_ROWS = 3  # that are packed to see whether they are kept apart


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train; return how it ended, as `told_refusals` does."""
    job: Job = settings["job"]
    _log_to_driver(rank=ray.train.get_context().get_world_rank())
    return told_refusals(lambda: Trainer(job).run())


def _log_to_driver(rank: int) -> None:
    """Let the first worker's log lines reach the driver; the others only warn."""
    package = logging.getLogger("ecellm")
    package.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if not package.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(RedactingFormatter(f"rank {rank}: %(message)s"))
        package.addHandler(handler)
        package.propagate = False


def together(work: Callable[[], T]) -> T:
    """Do what one rank may refuse and another not, and that waits for no other rank; if one refuses, all do.

    Raises:
        InputError: a rank refuses; all raise what the first one says.
    """
    result, refusal = None, ""
    try:
        result = work()
    except Exception as error:
        found = find_cause(error, InputError)
        if found is None:
            raise
        refusal = str(found)
    refusals = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(refusals, refusal)
    if first := next(filter(None, refusals), None):
        raise InputError(first)
    return cast("T", result)


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
        path, self._tokenizer, bf16 = together(self._find_model)
        build = partial(build_model, path, config, bf16=bf16)
        # At stage 3 the ranks load together: one that refused would be waited for; what it could refuse all do alike.
        model = build() if config.deepspeed.stage == 3 else together(build)
        pad_token_id, decoder_start = special_tokens(model.config)
        self._mfu_of = partial(
            mfu,
            num_parameters=num_parameters(model),
            adapters=config.uses_adapters,
            peak=peak_flops(self._device, bf16),
            num_workers=self._world_size,
        )
        self._state, self._progress = TrainingState(), Progress(self._plan.num_steps, mfu_of=self._mfu_of)
        found = self._find_checkpoints()
        self._engine = self._start(model, take_up(found.complete), bf16=bf16)
        limits = Limits(config.micro_batch_size, config.micro_batch_tokens, is_packed=config.packing)
        self._passes = Passes(
            self._engine, limits, pad_token_id, decoder_start, self._device, self._rank, self._world_size
        )
        self._saver = Saver(job, self._engine, self._rank, self._world_size, found)
        self._trackers = together(self._start_trackers)

    def _find_model(self) -> tuple[str, Any, bool]:
        """Return where the model is on this node, its tokenizer, and whether it computes in bf16."""
        job, config = self._job, self._config
        bf16 = uses_bf16(config)
        tokenizer = load_tokenizer(
            job.base_model, config.base_model_revision, job.storage, trust_remote_code=config.trust_remote_code
        )
        path = local_model(job.base_model, config.base_model_revision, job.storage)
        return path, tokenizer, bf16

    def _find_checkpoints(self) -> Found:
        """Return the checkpoints in the store as the first rank finds them, so that all go on from the same."""
        job = self._job
        shared = [together(lambda: None if self._rank else find_checkpoints(job.storage, job.checkpoints_dir))]
        torch.distributed.broadcast_object_list(shared, src=0, device=self._device)
        return cast("Found", shared[0])

    def _start(self, model: Any, found: ray.train.Checkpoint | None, *, bf16: bool) -> Engine:
        """Make the engine, from a checkpoint if one is given."""
        if found is None:
            return Engine(model, self._config, bf16=bf16, device=self._device)
        with found.as_directory() as directory:
            state, num_shards = checkpoint.load_state(Path(directory))
            engine = Engine(model, self._config, bf16=bf16, device=self._device)
            with checkpoint.open_tensors(Path(directory), num_shards) as tensors:
                engine.restore(tensors, state.step)
            log = checkpoint.load_log(Path(directory))
        self._state = state
        self._progress = Progress(self._plan.num_steps, state.seconds, log, mfu_of=self._mfu_of)
        logger.info("going on after step %d of %d", self._state.step, self._plan.num_steps)
        return engine

    def _start_trackers(self) -> Trackers:
        """Make the trackers of the first worker; the others have none."""
        if self._rank:
            return Trackers(())
        is_resumed = self._state.step > 0
        job = self._job
        return trackers_of(job.config, storage=job.storage, output_dir=job.output_dir, is_resumed=is_resumed)

    def run(self) -> None:
        """Train to the last step, or until validations say that it gets no better."""
        logger.info(
            "%s rows, %d steps, %d worker(s) on %s, %s trainable parameters",
            f"{self._rows.num_rows:,}",
            self._plan.num_steps,
            self._world_size,
            self._device.type,
            f"{self._engine.num_trainable:,}",
        )
        self._before_the_first_step()
        self._progress.restart_clock()
        preemption = PreemptionWatch(self._device)
        for step, batch in self._batches():
            self._train_step(step, batch)
            is_announced = preemption.is_announced()
            due = is_announced or self._plan.is_validation(step) or self._plan.is_checkpoint(step)
            if due or step % self._config.log_every_steps == 0:
                self._progress.flush()
            if self._plan.is_validation(step) and self._val_rows.num_rows:
                self._validate(step)
            if due:
                self._trackers.follow(self._progress.rows)
            self._state = dataclasses.replace(self._state, step=step, seconds=self._progress.seconds)
            is_last = self._state.is_stopped or step == self._plan.num_steps
            if is_last or is_announced or self._plan.is_checkpoint(step):
                self._saver.save(self._state, self._progress.rows, is_awaited=is_last or is_announced)
                self._trackers.publish()
            if is_last:
                break
            if due:
                self._progress.restart_clock()
        self._trackers.close()

    def _before_the_first_step(self) -> None:
        """Show what is learned, and try what a run needs; what may have changed is tried in every attempt."""
        if self._state.step and not self._config.packing:
            return
        first = next(iter(self._rows.epoch(seed=self._config.seed, epoch=0, global_batch_size=_CHECKED_ROWS)))
        if self._config.packing and len(first) > 1:
            check_packing(self._passes, first)
        if self._state.step:
            return
        logger.info("the first sample:\n%s", marked_example(first[0], self._tokenizer))
        if self._config.smoke:
            most = math.ceil(self._config.global_batch_size / self._world_size)
            run_smoke(self._passes, self._rows.longest(), self._config.optimizer.learning_rate, most_rows=most)

    def _batches(self) -> Iterator[tuple[int, list[TrainingRow]]]:
        """Yield (step, global batch) from the step after the last one done."""
        step = self._state.step
        while step < self._plan.num_steps and not self._state.is_stopped:
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

    def _train_step(self, step: int, batch: list[TrainingRow]) -> None:
        torch.manual_seed(_step_seed(self._config.seed, step, self._rank))
        dealt = self._passes.deal(batch)
        losses, sample_ids = [], []
        weights = token_weights(batch, self._config.loss_normalization)
        for rows, loss in self._passes.losses(batch, weights, dealt):
            self._engine.backward(loss)
            losses.append(loss.detach())
            sample_ids.append([row.sample_id for row in rows])
        rate = learning_rate(self._config.optimizer, step, self._plan.num_steps)
        self._engine.step(rate)
        num_tokens, num_positions = padding_share(batch, dealt, is_packed=self._config.packing)
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
        picked: list[TrainingRow] = []
        loss = self._validation_loss(picked)
        if not np.isfinite(loss):
            raise InputError(f"the validation loss after step {step} is not finite: training stopped")
        scores = self._scores(picked)
        self._engine.train()
        is_best = self._state.best is None or loss < self._state.best.loss
        self._progress.add_validation(
            step=step, epoch=self._epoch_after(step), loss=loss, scores=scores, is_best=is_best
        )
        if is_best:
            self._state = self._saver.keep_best(self._state, step, loss)
        elif self._is_time_to_stop():
            logger.info(
                "stopped early: no better validation loss in %s validations", self._config.early_stopping_patience
            )
            self._state = dataclasses.replace(self._state, is_stopped=True)

    def _validation_loss(self, picked: list[TrainingRow]) -> float:
        """Return the mean loss; add the rows whose answers are scored to `picked`."""
        total = torch.zeros(1, dtype=torch.float64, device=self._device)
        total_weight = 0.0
        for batch in self._val_rows.in_order(self._config.global_batch_size):
            by_sample = self._config.loss_normalization == "sample"
            weight = len(batch) if by_sample else sum(row.num_answer_tokens for row in batch)
            weights = token_weights(batch, self._config.loss_normalization)
            for _, loss in self._passes.losses(batch, weights, self._passes.deal(batch)):
                total += loss.double() * weight
            total_weight += weight
            picked += [row for row in batch if row.position in self._scored_positions]
        torch.distributed.all_reduce(total)
        return float(total.item()) / self._world_size / total_weight

    @cached_property
    def _scored_positions(self) -> frozenset[int]:
        """Places of the validation rows whose answers are scored, the same at each validation."""
        evaluator, number = self._job.evaluator, self._config.num_scored_samples
        if evaluator is None or not number:
            return frozenset()
        batches = self._val_rows.in_order(self._config.global_batch_size)
        return picked_positions((row for batch in batches for row in batch), number, evaluator.can_score)

    def _scores(self, picked: list[TrainingRow]) -> dict[str, float]:
        """Return how well the picked rows are answered, by task."""
        if self._job.evaluator is None or not picked:
            return {}
        references, answers = answer(
            self._engine,
            picked,
            self._tokenizer,
            rank=self._rank,
            world_size=self._world_size,
            limits=self._passes.limits,
            device=self._device,
        )
        return dict(self._job.evaluator.score(picked, references, answers))

    def _is_time_to_stop(self) -> bool:
        patience, best = self._config.early_stopping_patience, self._state.best
        if patience is None or best is None:
            return False
        return sum(row["kind"] == "val" and row["step"] > best.step for row in self._progress.rows) >= patience


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return a seed of its own for each step and rank: dropout after a restart is what it would have been."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
