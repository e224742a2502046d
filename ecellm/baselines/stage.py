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
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.train import CheckpointConfig, FailureConfig, Result, ScalingConfig
from ray.train.torch import TorchTrainer

from ecellm.baselines.answer import MODELS_DIRECTORY, BaselineAnswerer
from ecellm.baselines.learner import learner_class
from ecellm.baselines.loop import BEST_DIRECTORY, REFUSED, SIZES, STATE_NAME, TaskJob, train_worker
from ecellm.config import BaselineConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import Partition, list_partitions, part_name
from ecellm.errors import InputError
from ecellm.inference.predict import RUN_ID_LENGTH
from ecellm.models import fingerprint_with_model, local_model, locate, require_weights
from ecellm.resources import Room
from ecellm.schema import BASELINE_LOG
from ecellm.shards import run_shards_on_actors
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join
from ecellm.tasks import Task, find_task, task_named
from ecellm.training.checkpoint import RUN_DIRECTORY
from ecellm.training.finetune import run_config
from ecellm.training.process_group import torch_config
from ecellm.training.recovery import LIST_NAME, names_in_list

logger = logging.getLogger(__name__)
_LOG_NAME = "log.json"


def _inputs(config: BaselineConfig) -> dict[str, str]:
    base = {"encoder": locate(config.encoder)} if config.encoder else {}
    return {"samples_dir": absolute(config.samples_dir), **base}


def _room(config: BaselineConfig) -> Room:
    return Room(
        what=f"num_workers={config.num_workers} with cpus_per_worker={config.cpus_per_worker}",
        number=config.num_workers,
        cpus=config.cpus_per_worker,
        gpus=1 if config.use_gpu else 0,
        advice="set use_gpu=false" if config.use_gpu else "lower num_workers",
    )


def _check(config: BaselineConfig, storage: Storage) -> tuple[str, ...]:
    asked = _asked(config, storage)
    for task in asked:
        _files_to_learn(config, storage, task)
    needs = learner_class(config.kind).needs
    if needs is not None and find_spec(needs[0]) is None:
        raise InputError(f"kind={config.kind} needs {needs[0]}: pip install 'ecellm[{needs[1]}]'")
    if config.encoder is not None:
        ray.get(ray.remote(max_retries=0)(_check_model).remote(config))
    return tuple(
        f"{task.short_name}: learned from {config.train_setting}, {len(places)} settings to answer"
        for task, places in asked.items()
    )


def _check_model(config: BaselineConfig) -> None:
    assert config.encoder is not None, "only encoders are checked"
    require_weights(local_model(locate(config.encoder), config.encoder_revision, Storage(config.storage)))


def _asked(config: BaselineConfig, storage: Storage) -> dict[Task, dict[Partition, list[str]]]:
    """Return what is answered: by task, the test partitions with their files.

    Raises:
        InputError: a task that was asked for is not there or does not suit the kind, or none is left.
    """
    kind = learner_class(config.kind)
    wanted = None if config.tasks is None else tuple(task_named(name).name for name in config.tasks)
    partitions = list_partitions(
        storage, absolute(config.samples_dir), settings=config.settings, splits=("test",), tasks=wanted
    )
    asked: dict[Task, dict[Partition, list[str]]] = {}
    for partition, files in partitions.items():
        task = find_task(partition.task)
        if task is not None and kind.suits(task):
            asked.setdefault(task, {})[partition] = files
        elif wanted is not None:
            raise InputError(f"tasks: kind={config.kind} cannot answer {partition.task}")
    if wanted is None:  # those that it can answer here: there is something to learn from
        asked = {task: places for task, places in asked.items() if "train" in _files_by_split(config, storage, task)}
    if not asked:
        raise InputError(
            f"{config.samples_dir} has no task with train rows in {config.train_setting} and test rows that "
            f"kind={config.kind} can answer"
        )
    return asked


def _files_by_split(config: BaselineConfig, storage: Storage, task: Task) -> dict[str, list[str]]:
    """Return the files of a task's train and val rows; splits without rows are left out."""
    partitions = list_partitions(storage, absolute(config.samples_dir))
    return {
        own.split: files
        for own, files in partitions.items()
        if (own.setting, own.task) == (config.train_setting, task.name) and own.split in {"train", "val"}
    }


def _files_to_learn(config: BaselineConfig, storage: Storage, task: Task) -> tuple[list[str], list[str]]:
    """Return the files of train and val rows.

    Raises:
        InputError: there are no train rows.
    """
    by_split = _files_by_split(config, storage, task)
    if "train" not in by_split:
        raise InputError(f"{config.samples_dir} has no training rows of {task.name} in {config.train_setting}")
    return by_split["train"], by_split.get("val", [])


def _run(run: Run[BaselineConfig]) -> Outcome:
    config, storage = run.config, run.storage
    asked = _asked(config, storage)
    logs = {task.name: _trained(run, task) for task in asked}
    _write_log(run, logs)
    shards = _shards(run, asked)
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


def _trained(run: Run[BaselineConfig], task: Task) -> list[dict[str, float]]:
    """Train a task's model, unless it is there; return its log."""
    directory = join(run.output_dir, MODELS_DIRECTORY, task.name)
    log_path = join(directory, _LOG_NAME)
    if not run.storage.exists(log_path):
        train_files, val_files = _files_to_learn(run.config, run.storage, task)
        ray.get(ray.remote(_make_ready).remote(run.storage, join(run.output_dir, "checkpoints", task.name)))
        result = _train(TaskJob(run.config, task, run.storage, train_files, val_files), run.output_dir)
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
    return all(name in there and storage.size(join(checkpoint, name)) == size for name, size in sizes.items())


def _train(job: TaskJob, output_dir: str) -> Result:
    config = job.config
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})},
        ),
        run_config=run_config(
            job.storage, join(output_dir, "checkpoints", job.task.name),
            failures=FailureConfig(max_failures=config.max_failures), checkpoints=CheckpointConfig(num_to_keep=1),
        ),
        torch_config=torch_config(use_gpu=config.use_gpu),
    )  # fmt: skip
    result = trainer.fit()
    ended: dict[str, Any] = result.return_value or {}
    if REFUSED in ended:
        raise InputError(ended[REFUSED])
    return result


def _export(storage: Storage, checkpoint: ray.train.Checkpoint, directory: str) -> None:
    """Publish the model of the best epoch; its log, the marker that the task is done, comes last."""
    with checkpoint.as_directory() as found:
        state = json.loads((Path(found) / "state.json").read_text())
        storage.upload_dir(Path(found) / BEST_DIRECTORY, directory)
    storage.write_json(join(directory, _LOG_NAME), state["log"])


def _write_log(run: Run[BaselineConfig], logs: Mapping[str, list[dict[str, float]]]) -> None:
    rows = [{"task": name, **entry} for name, log in logs.items() for entry in log]
    path = join(run.output_dir, "training_log", "data", part_name(0))
    run.storage.write_table(path, pa.Table.from_pylist(rows, schema=BASELINE_LOG))


def _shards(run: Run[BaselineConfig], asked: Mapping[Task, Mapping[Partition, list[str]]]) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = []
    for task, partitions in asked.items():
        for partition, files in partitions.items():
            directory = join(run.output_dir, "data", f"setting={partition.setting}", f"task={task.name}")
            for piece in segments.cut(run.storage, files, run.config.rows_per_shard, run.config.limit):
                shards.append(
                    {
                        "name": part_name(len(shards)),
                        "directory": directory,
                        "task": task.name,
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
    room=_room,
)
