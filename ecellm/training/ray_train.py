"""What all training by Ray Train has in common: its workers, where its state is kept, and how a refusal comes back.

A worker that finds what the user has to mend returns it instead of raising: Ray Train would try again, as it does
after a lost node, and would hide the kind of the error from the driver.
"""

from collections.abc import Callable
from typing import Any

from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ecellm.config import BaselineConfig, FinetuneConfig
from ecellm.errors import InputError, find_cause
from ecellm.resources import Room
from ecellm.storage import Storage, is_local
from ecellm.training.checkpoint import RUN_DIRECTORY
from ecellm.training.process_group import torch_config

Config = FinetuneConfig | BaselineConfig
_REFUSED = "refused"


def told_refusals(work: Callable[[], None]) -> dict[str, str]:
    """Do a worker's part.

    Returns:
        `{}`, or `{"refused": message}` where an InputError ended it; all else is raised.
    """
    try:
        work()
    except Exception as error:
        refused = find_cause(error, InputError)
        if refused is None:
            raise
        return {_REFUSED: str(refused)}
    return {}


def train_on_workers(
    worker: Callable[[dict[str, Any]], dict[str, str]],
    job: Any,
    *,
    num_workers: int | tuple[int, int],
    checkpoints_dir: str,
    num_to_keep: int,
) -> Result:
    """Train, from the newest checkpoint that Ray Train knows of in `checkpoints_dir` if there is one.

    Args:
        worker: what each worker does, with `told_refusals`; it is given `{"job": job}`.
        job: has `config` and `storage`.
        num_workers: how many, or the fewest and the most.
        checkpoints_dir: where Ray Train keeps its state.
        num_to_keep: checkpoints that are kept.

    Raises:
        InputError: a worker refused.
    """
    config: Config = job.config
    trainer = TorchTrainer(
        worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})},
        ),
        run_config=_run_config(job.storage, checkpoints_dir, config.max_failures, num_to_keep),
        torch_config=torch_config(use_gpu=config.use_gpu),
    )
    result = trainer.fit()
    ended: dict[str, Any] = result.return_value or {}
    if _REFUSED in ended:
        raise InputError(ended[_REFUSED])
    return result


def _run_config(storage: Storage, path: str, max_failures: int, num_to_keep: int) -> RunConfig:
    """Return where Ray Train keeps its state: under a fixed name in a directory, so that a later run finds it."""
    filesystem = None
    if not is_local(path):
        fs, path = storage.filesystem(path)
        filesystem = PyFileSystem(FSSpecHandler(fs))
    return RunConfig(
        name=RUN_DIRECTORY,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=num_to_keep),
    )


def room_of_workers(config: Config) -> Room:
    """Return what the fewest workers that will do need at once."""
    is_elastic = isinstance(config, FinetuneConfig) and config.min_workers is not None
    field = "min_workers" if is_elastic else "num_workers"
    return Room(
        what=f"{field}={getattr(config, field)} with cpus_per_worker={config.cpus_per_worker}",
        number=getattr(config, field),
        cpus=config.cpus_per_worker,
        gpus=1 if config.use_gpu else 0,
        advice="set use_gpu=false" if config.use_gpu else f"lower {field}",
    )
