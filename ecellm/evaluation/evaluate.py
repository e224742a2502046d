"""`python -m jobs.evaluate`: scores, metrics, comparisons and a report from predictions.

In: predictions directories, side by side, and the samples that they answer. Out, below `output_dir`:

    scores/data/part-*.parquet       one row per answer and figure
    metrics/data/part-*.parquet      every metric with its interval, of runs and trivial baselines
    comparisons/data/part-*.parquet  every later run against the first, on the same rows
    report.html                      all of it on one page
"""

from collections.abc import Sequence
from typing import Any

from ecellm.config import EvaluateConfig
from ecellm.dataset.partitions import list_partitions
from ecellm.errors import InputError
from ecellm.evaluation.answered import PredictionPlace, RunFiles, check_ids, list_runs, read_columns
from ecellm.evaluation.report_shard import write_report
from ecellm.evaluation.score_shard import evaluate_shard
from ecellm.shards import run_shards
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute

_TASK_MEMORY_BYTES = 512 * 2**20
SampleFiles = dict[PredictionPlace, dict[str, list[str]]]


def _inputs(config: EvaluateConfig) -> dict[str, str]:
    predictions = {f"predictions_dirs.{number}": absolute(path) for number, path in enumerate(config.all_predictions)}
    training = {f"training_dirs.{number}": absolute(path) for number, path in enumerate(config.training_dirs)}
    return {"samples_dir": absolute(config.samples_dir), **predictions, **training}


def _sample_files(storage: Storage, samples_dir: str) -> SampleFiles:
    """Return the Parquet files of the samples by (setting, task), then by split."""
    files: SampleFiles = {}
    for partition, paths in list_partitions(storage, samples_dir).items():
        files.setdefault((partition.setting, partition.task), {})[partition.split] = paths
    return files


def _check(config: EvaluateConfig, storage: Storage) -> tuple[str, ...]:
    """Raise `InputError` unless all predictions are distinct runs over these samples."""
    samples = _sample_files(storage, absolute(config.samples_dir))
    directory_of: dict[str, str] = {}
    for directory in config.all_predictions:
        for files_of in list_runs(storage, absolute(directory)):
            for place, files in files_of.items():
                check_ids(storage, files, samples.get(place, {}))
                for run_id in set(read_columns(storage, files, ["run_id"])["run_id"].to_pylist()):
                    if directory_of.setdefault(run_id, directory) != directory:
                        raise InputError(f"{directory_of[run_id]} and {directory} hold the same run, {run_id}")
    if len(set(map(absolute, config.all_predictions))) < len(config.all_predictions):
        raise InputError("a predictions directory is given twice")
    return ()


def make_shards(
    predictions: Sequence[RunFiles], samples: SampleFiles, *, with_comparisons: bool
) -> list[dict[str, Any]]:
    """Return all shards, numbered in a fixed order: runs, trivial baselines, comparisons with the first run.

    Args:
        predictions: for each run, its files by (setting, task).
        samples: the samples' files by (setting, task) and split.
        with_comparisons: whether later runs are compared with the first.
    """
    shards: list[dict[str, Any]] = []

    def add(kind: str, place: PredictionPlace, files: list[str], **more: Any) -> None:
        shard = {"kind": kind, "number": len(shards), "setting": place[0], "task": place[1], "predictions": files}
        shards.append(shard | {"samples": samples.get(place, {})} | more)

    for of_run in predictions:
        for place, files in of_run.items():
            add("run", place, files)
    places = sorted({place for of_run in predictions for place in of_run})
    for place in places:
        add("floors", place, next(of_run[place] for of_run in predictions if place in of_run))
    for of_run in predictions[1:] if with_comparisons else ():
        for place in places:
            if place in of_run and place in predictions[0]:
                add("comparison", place, of_run[place], baseline=predictions[0][place])
    return shards


def _run(run: Run[EvaluateConfig]) -> Outcome:
    config, storage = run.config, run.storage
    directories = [absolute(path) for path in config.all_predictions]
    shards = make_shards(
        [files for directory in directories for files in list_runs(storage, directory)],
        _sample_files(storage, absolute(config.samples_dir)),
        with_comparisons=config.num_resamples > 0,
    )
    shared = {"output_dir": run.output_dir, "storage_config": config.storage.model_dump()}
    arguments = {
        **shared,
        "samples_fingerprint": run.inputs["samples_dir"],
        "num_resamples": config.num_resamples,
        "seed": config.seed,
    }
    rows, comparisons = 0, []
    for result in run_shards(
        shards, evaluate_shard, name="evaluate", function_args=arguments, memory=_TASK_MEMORY_BYTES
    ):
        rows += result["rows"]
        comparisons += result["comparisons"]
    report = {
        "predictions_dirs": directories,
        "training_dirs": [absolute(path) for path in config.training_dirs],
        "comparisons": sorted(comparisons, key=lambda row: (row["run_id"], row["setting"], row["split"], row["task"])),
    }
    (written,) = run_shards([report], write_report, name="report", function_args=shared, memory=_TASK_MEMORY_BYTES)
    return Outcome(rows=rows, details=written["details"], summary=tuple(written["summary"]))


STAGE = Stage(job="evaluate", version=1, config_class=EvaluateConfig, inputs=_inputs, check=_check, run=_run)
