"""The baseline stage: a task-specific model for each task, trained by Ray Train, and its answers to all test rows.

    python -m jobs.baseline samples_dir=samples kind=encoder encoder=MODEL output_dir=baseline

    models/TASK/                                  the model of the best epoch
    data/setting=/task=/part-*.parquet            predictions, as predict writes them
    training_log/data/part-*.parquet              one row a task and epoch
    checkpoints/TASK/                             what a killed run goes on from

A task whose model is there is not trained again, and a part that is there is not answered again.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from ecellm.baselines.answer import MODELS_DIRECTORY, BaselineAnswerer
from ecellm.baselines.learner import learner_class
from ecellm.baselines.loop import BEST_DIRECTORY, SIZES, STATE_NAME, TaskJob, train_worker
from ecellm.config import BaselineConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import Partition, list_partitions, part_name
from ecellm.errors import InputError
from ecellm.inference.predict import RUN_ID_LENGTH
from ecellm.models import fingerprint_with_model, local_model, locate, require_weights
from ecellm.schema import BASELINE_LOG
from ecellm.shards import run_shards_on_actors
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join
from ecellm.tasks import Task, find_task, task_named
from ecellm.training.checkpoint import RUN_DIRECTORY
from ecellm.training.ray_train import room_of_workers, train_on_workers
from ecellm.training.recovery import LIST_NAME, first_defect, names_in_list

logger = logging.getLogger(__name__)
_LOG_NAME = "log.json"


def _inputs(config: BaselineConfig) -> dict[str, str]:
    base = {"encoder": locate(config.encoder)} if config.encoder else {}
    return {"samples_dir": absolute(config.samples_dir), **base}


def _check(config: BaselineConfig, storage: Storage) -> tuple[str, ...]:
    work = _work(config, storage)
    needs = learner_class(config.kind).needs
    if needs is not None and find_spec(needs[0]) is None:
        raise InputError(f"kind={config.kind} needs {needs[0]}: pip install 'ecellm[{needs[1]}]'")
    if config.encoder is not None:
        ray.get(ray.remote(max_retries=0)(_check_model).remote(config))
    return tuple(
        f"{own.task.short_name}: learned from {config.train_setting}, {len(own.asked)} settings to answer"
        for own in work
    )


def _check_model(config: BaselineConfig) -> None:
    assert config.encoder is not None, "only encoders are checked"
    require_weights(local_model(locate(config.encoder), config.encoder_revision, Storage(config.storage)))


@dataclass(frozen=True)
class _TaskWork:
    """What is learned and answered of a task: files of train and val rows, and of the test rows by partition."""

    task: Task
    train: Sequence[str]
    val: Sequence[str]
    asked: Mapping[Partition, list[str]]


def _work(config: BaselineConfig, storage: Storage) -> list[_TaskWork]:
    """Return what is done, task by task.

    Raises:
        InputError: a task that was asked for is not there, has no train rows, or does not suit the kind; or there is
            none to do.
    """
    kind, samples_dir = learner_class(config.kind), absolute(config.samples_dir)
    wanted = None if config.tasks is None else tuple(task_named(name).name for name in config.tasks)
    asked: dict[Task, dict[Partition, list[str]]] = {}
    partitions = list_partitions(storage, samples_dir, settings=config.settings, splits=("test",), tasks=wanted)
    for partition, files in partitions.items():
        task = find_task(partition.task)
        if task is not None and kind.suits(task):
            asked.setdefault(task, {})[partition] = files
        elif wanted is not None:
            raise InputError(f"tasks: kind={config.kind} cannot answer {partition.task}")
    everything = list_partitions(storage, samples_dir)
    work = []
    for task, places in asked.items():
        train, val = (
            everything.get(Partition(config.train_setting, split, task.name), []) for split in ("train", "val")
        )
        if train:  # unasked, those are done that there is something to learn from
            work.append(_TaskWork(task, train, val, places))
        elif wanted is not None:
            raise InputError(f"{config.samples_dir} has no training rows of {task.name} in {config.train_setting}")
    if not work:
        raise InputError(
            f"{config.samples_dir} has no task with train rows in {config.train_setting} and test rows that "
            f"kind={config.kind} can answer"
        )
    return work


def _run(run: Run[BaselineConfig]) -> Outcome:
    config, storage = run.config, run.storage
    work = _work(config, storage)
    logs = {own.task.name: _trained(run, own) for own in work}
    _write_log(run, logs)
    shards = _shards(run, work)
    finished = set(storage.list_files(join(run.output_dir, "data"), ".parquet"))
    left = [shard for shard in shards if join(shard["directory"], shard["name"]) not in finished]
    for done, result in enumerate(_answered(run, left), 1):
        logger.info("baseline: %d of %d parts answered, %s rows in this one", done, len(left), f"{result['rows']:,}")
    num_rows = sum(shard["num_rows"] for shard in shards)
    best = {name: min(log, key=lambda row: row["val_loss"]) for name, log in logs.items()}
    return Outcome(
        rows=num_rows,
        details={"run_ids": {config.shown_name: run.fingerprint[:RUN_ID_LENGTH]}, "best_epochs": best},
        summary=(
            f"{num_rows:,} answers of {config.shown_name}",
            *(
                f"{name}: best validation loss {own['val_loss']:.4f}, after epoch {own['epoch']:.0f}"
                for name, own in best.items()
            ),
        ),
    )


def _trained(run: Run[BaselineConfig], work: _TaskWork) -> list[dict[str, float]]:
    """Train a task's model, unless it is there; return its log."""
    directory = join(run.output_dir, MODELS_DIRECTORY, work.task.name)
    log_path = join(directory, _LOG_NAME)
    if not run.storage.exists(log_path):
        checkpoints_dir = join(run.output_dir, "checkpoints", work.task.name)
        ray.get(ray.remote(_make_ready).remote(run.storage, checkpoints_dir))
        job = TaskJob(run.config, work.task, run.storage, work.train, work.val)
        result = train_on_workers(
            train_worker, job, num_workers=run.config.num_workers, checkpoints_dir=checkpoints_dir, num_to_keep=1
        )
        ray.get(ray.remote(_export).remote(run.storage, result.checkpoint, directory))
    log: list[dict[str, float]] = run.storage.read_json(log_path)
    return log


def _make_ready(storage: Storage, directory: str) -> None:
    """Remove a task's checkpoints if a kill has left their list, or the newest of them, cut off: it is trained anew."""
    run_directory = join(directory, RUN_DIRECTORY)
    path = join(run_directory, LIST_NAME)
    if not storage.exists(path):
        return
    listed = names_in_list(storage.read_bytes(path))
    if listed is None or not all(_is_complete(storage, join(run_directory, name)) for name in listed):
        logger.warning("baseline: a checkpoint in %s was cut off by a kill: training begins again", run_directory)
        storage.remove(directory)


def _is_complete(storage: Storage, checkpoint: str) -> bool:
    state = join(checkpoint, STATE_NAME)
    if not storage.exists(state):
        return False
    try:
        sizes = json.loads(storage.read_bytes(state))[SIZES]
    except (ValueError, KeyError, TypeError):
        return False
    there = {path.removeprefix(f"{checkpoint}/") for path in storage.list_files(checkpoint)}
    return first_defect(storage, checkpoint, sizes, there) is None


def _export(storage: Storage, checkpoint: ray.train.Checkpoint, directory: str) -> None:
    """Publish the model of the best epoch; its log, the marker that the task is done, comes last."""
    with checkpoint.as_directory() as found:
        state = json.loads((Path(found) / STATE_NAME).read_text())
        storage.upload_dir(Path(found) / BEST_DIRECTORY, directory)
    storage.write_json(join(directory, _LOG_NAME), state["log"])


def _write_log(run: Run[BaselineConfig], logs: Mapping[str, list[dict[str, float]]]) -> None:
    rows = [{"task": name, **entry} for name, log in logs.items() for entry in log]
    path = join(run.output_dir, "training_log", "data", part_name(0))
    run.storage.write_table(path, pa.Table.from_pylist(rows, schema=BASELINE_LOG))


def _shards(run: Run[BaselineConfig], work: Sequence[_TaskWork]) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = []
    for own in work:
        for partition, files in own.asked.items():
            directory = join(run.output_dir, "data", f"setting={partition.setting}", f"task={own.task.name}")
            for piece in segments.cut(run.storage, files, run.config.rows_per_shard, run.config.limit):
                shards.append(
                    {
                        "name": part_name(len(shards)),
                        "directory": directory,
                        "task": own.task.name,
                        "piece": piece,
                        "num_rows": segments.num_rows(piece),
                        "run_id": run.fingerprint[:RUN_ID_LENGTH],
                    }
                )
    return shards


def _answered(run: Run[BaselineConfig], shards: list[dict[str, Any]]) -> Any:
    return run_shards_on_actors(
        shards,
        BaselineAnswerer,
        constructor_args={"config_json": run.config.model_dump_json(), "output_dir": run.output_dir},
        num_actors=run.config.num_workers,
        num_cpus=run.config.cpus_per_worker,
        num_gpus=1 if run.config.use_gpu else 0,
    )


STAGE = Stage(
    job="baseline",
    version=1,
    config_class=BaselineConfig,
    inputs=_inputs,
    check=_check,
    run=_run,
    fingerprint_input=fingerprint_with_model("encoder"),
    room=room_of_workers,
)
