"""Saving and going on: every rank writes its shard, of a checkpoint or of the best weights so far.

    checkpoints/run/...                     Ray Train's own: the newest checkpoints
    checkpoints/best/step-00000040/         weights of the best validation, a shard of each rank

A checkpoint is copied to the store while training goes on; the last one, and one before a preemption, are waited for.
"""

import dataclasses
import logging
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray.train
import torch
from ray.train import CheckpointUploadMode

from ecellm.storage import join
from ecellm.training import checkpoint
from ecellm.training.checkpoint import BEST_DIRECTORY, Best, TrainingState
from ecellm.training.engine import Engine
from ecellm.training.job import Job
from ecellm.training.recovery import Complete, Found, order_of, unused_name

logger = logging.getLogger(__name__)
# Every third checkpoint is waited for, and with it those before: so many are on their way to the store at most. When a
# run dies, it goes on from one of those that are kept before them, whose best weights must still be there.
_MOST_ON_THE_WAY = 2
_FEWEST_WITH_BEST = 2


def take_up(complete: Sequence[Complete]) -> ray.train.Checkpoint | None:
    """Return the checkpoint to go on from; a collective of all ranks.

    Those that Ray Train does not know of, because its controller died before they were reported, are reported where
    they are: it removes them in their turn, and a run that has no step left to do ends with the newest.

    Args:
        complete: the complete checkpoints, oldest first; the same on every rank.

    Returns:
        The newest; without any what Ray Train names, None at the beginning of a run.
    """
    known = ray.train.get_checkpoint()
    newest = order_of(Path(known.path).name) if known else (-1, 0)
    storage = ray.train.get_context().get_storage()
    for own in complete:
        path = storage.build_checkpoint_path_from_name(own.name)
        known = ray.train.Checkpoint(path, storage.storage_filesystem)
        if order_of(own.name) > newest:
            ray.train.report(
                {"step": own.step}, checkpoint=known, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD
            )
    return known


class Saver:
    """Writes one rank's part of checkpoints.

    Args:
        job: the job.
        engine: the model.
        rank: of this worker.
        world_size: number of workers.
        found: the checkpoints that were there before.
    """

    def __init__(self, job: Job, engine: Engine, rank: int, world_size: int, found: Found) -> None:
        self._job = job
        self._engine = engine
        self._rank = rank
        self._world_size = world_size
        self._found = found
        self._num_on_the_way = 0
        most = _MOST_ON_THE_WAY + max(job.config.keep_checkpoints, _FEWEST_WITH_BEST)
        self._kept_best: deque[Best | None] = deque((own.best for own in found.complete), maxlen=most)
        self._owners = checkpoint.owners(engine.sizes, world_size)

    @property
    def _shard(self) -> str:
        return checkpoint.shard_name(self._rank, self._world_size)

    def keep_best(self, state: TrainingState, step: int, loss: float) -> TrainingState:
        """Publish the weights as the best so far; a collective of all ranks."""
        name = f"step-{step:08d}"
        weights = self._engine.gather(self._owners, with_moments=False)
        path = join(self._job.checkpoints_dir, BEST_DIRECTORY, name, self._shard)
        with self._job.storage.staged_file(path) as file:
            checkpoint.save_shard(weights, file)
        return dataclasses.replace(state, best=Best(step, loss, name, self._world_size))

    def save(self, state: TrainingState, log: Sequence[Mapping[str, object]], *, is_awaited: bool) -> None:
        """Report a checkpoint; a collective of all ranks.

        Args:
            state: where the run is.
            log: the training log until here.
            is_awaited: whether to wait until it is in the store.
        """
        is_awaited = is_awaited or self._num_on_the_way == _MOST_ON_THE_WAY
        self._num_on_the_way = 0 if is_awaited else self._num_on_the_way + 1
        scratch = Path(tempfile.mkdtemp(prefix="ecellm-checkpoint-"))  # Ray Train removes it once it is copied
        checkpoint.save_shard(self._engine.gather(self._owners), scratch / self._shard)
        sizes = self._shard_sizes(scratch / self._shard)
        if self._rank == 0:
            checkpoint.save_state(state, log, scratch, shard_sizes=sizes)
        ray.train.report(
            {"step": state.step},
            checkpoint=ray.train.Checkpoint.from_directory(str(scratch)),
            checkpoint_dir_name=unused_name(self._found, state.step),
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if is_awaited else CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        self._kept_best.append(state.best)
        if self._rank == 0:
            self._remove_older_best()

    def _shard_sizes(self, own: Path) -> list[int]:
        """Return the bytes of all ranks' shards. No rank is told before each has published its best weights."""
        sizes = [0] * self._world_size
        torch.distributed.all_gather_object(sizes, own.stat().st_size)
        return sizes

    def _remove_older_best(self) -> None:
        """Remove the best weights that none of the last checkpoints names."""
        directory = join(self._job.checkpoints_dir, BEST_DIRECTORY)
        found = {path.removeprefix(f"{directory}/").split("/")[0] for path in self._job.storage.list_files(directory)}
        for name in found - {best.directory for best in self._kept_best if best}:
            self._job.storage.remove(join(directory, name))
