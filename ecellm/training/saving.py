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
from ray.train import CheckpointUploadMode

from ecellm.storage import join
from ecellm.training import checkpoint
from ecellm.training.checkpoint import BEST_DIRECTORY, Best, TrainingState
from ecellm.training.engine import Engine
from ecellm.training.job import Job

logger = logging.getLogger(__name__)
# Every third checkpoint is waited for, and with it those before: so many are on their way to the store at most. When a
# run dies, it goes on from the one before them, whose best weights must still be there.
_MOST_ON_THE_WAY = 2
_KEPT_BEST = _MOST_ON_THE_WAY + 2


class Saver:
    """Writes one rank's part of checkpoints.

    Args:
        job: the job.
        engine: the model.
        rank: of this worker.
        world_size: number of workers.
        best: what the checkpoint that the run goes on from says is best.
    """

    def __init__(self, job: Job, engine: Engine, rank: int, world_size: int, best: Best | None) -> None:
        self._job = job
        self._engine = engine
        self._rank = rank
        self._world_size = world_size
        self._num_on_the_way = 0
        self._kept_best: deque[Best | None] = deque([best], maxlen=_KEPT_BEST)
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
        if self._rank == 0:
            checkpoint.save_state(state, log, scratch, num_shards=self._world_size)
        ray.train.report(
            {"step": state.step},
            checkpoint=ray.train.Checkpoint.from_directory(str(scratch)),
            checkpoint_dir_name=f"checkpoint-{state.step:08d}",
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if is_awaited else CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        self._kept_best.append(state.best)
        if self._rank == 0:
            self._remove_older_best()

    def _remove_older_best(self) -> None:
        """Remove the best weights that none of the last checkpoints names."""
        directory = join(self._job.checkpoints_dir, BEST_DIRECTORY)
        found = {path.removeprefix(f"{directory}/").split("/")[0] for path in self._job.storage.list_files(directory)}
        for name in found - {best.directory for best in self._kept_best if best}:
            self._job.storage.remove(join(directory, name))
