"""The last task of evaluate: gathers what the shards wrote, and writes comparisons and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ecellm.config import StorageConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import RunFiles, list_runs, read_columns
from ecellm.evaluation.headline import HeadlineRow, headline_rows, summary_lines
from ecellm.evaluation.report import RunInfo, render
from ecellm.evaluation.score_shard import model_name
from ecellm.loss_curve import LossPlot, loss_plot
from ecellm.schema import COMPARISONS, METRICS
from ecellm.storage import Storage, join

_RUN_COLUMNS = ("run_id", "model", "adapter", "engine", "decoding")


def write_report(shard: Mapping[str, Any], *, output_dir: str, storage_config: Mapping[str, Any]) -> dict[str, Any]:
    """Write `comparisons/` and `report.html`.

    Args:
        shard: `predictions_dirs`, `training_dirs` and `comparisons` (rows of that table).
        output_dir: evaluate's output, with all parts of `metrics/` written.
        storage_config: how to reach all of these.

    Returns:
        `summary` (lines of text) and `details` (the headline figures).
    """
    storage = Storage(StorageConfig(**storage_config))
    metrics = read_columns(storage, storage.list_files(join(output_dir, "metrics", "data"), ".parquet"), METRICS.names)
    rows = metrics.to_pylist()
    runs = describe_runs(storage, shard["predictions_dirs"])
    plots = _loss_plots(storage, shard["training_dirs"])
    comparisons = pa.Table.from_pylist(shard["comparisons"], schema=COMPARISONS)
    storage.write_table(join(output_dir, "comparisons", "data", part_name(0)), comparisons)
    page = render(rows, runs, shard["comparisons"], plots)
    storage.write_bytes(join(output_dir, "report.html"), page.encode())
    lines = headline_rows(rows, [run.run_id for run in runs])
    labels = [run.label for run in runs]
    return {"summary": summary_lines(lines, labels), "details": {"headline": [_detail(row, labels) for row in lines]}}


def _detail(row: HeadlineRow, labels: Sequence[str]) -> dict[str, Any]:
    values = {label: None if run is None else run["value"] for label, run in zip(labels, row.runs, strict=True)}
    return {
        "task": row.task,
        "setting": row.setting,
        "split": row.split,
        "metric": row.metric,
        "num_samples": row.num_samples,
        "values": values,
        "best_floor": None if row.floor is None else row.floor["value"],
        "is_above_floor": row.is_above_floor,
    }


def describe_runs(storage: Storage, directories: Sequence[str]) -> list[RunInfo]:
    """Return what the predictions say of the runs that made them, in the order given."""
    runs = []
    for directory, label in zip(directories, short_names(directories), strict=True):
        of_directory = list_runs(storage, directory)
        errors = _errors_by_part(storage, directory)
        found = [_describe_run(storage, files, errors) for files in of_directory]
        adapters = short_names([str(run["adapter"]) for run in found]) if len(found) > 1 else [None]
        for run, adapter in zip(found, adapters, strict=True):
            name = f"{label} ({adapter})" if adapter else label
            engine, decoding = str(run["engine"]), str(run["decoding"])
            runs.append(
                RunInfo(name, str(run["run_id"]), model_name(run), engine, decoding, run["num_rows"], run["num_errors"])
            )
    return runs


def _errors_by_part(storage: Storage, directory: str) -> dict[str, int]:
    """Return how many rows of each part failed, by the part's file name."""
    errors = {}
    for path in storage.list_files(join(directory, "errors"), ".parquet"):
        with storage.parquet_file(path) as file:
            errors[path.rsplit("/", 1)[-1]] = file.metadata.num_rows
    return errors


def _describe_run(storage: Storage, files_of: RunFiles, errors: Mapping[str, int]) -> dict[str, Any]:
    """Return what identifies a run, and its numbers of rows and errors."""
    files = [path for paths in files_of.values() for path in paths]
    table = read_columns(storage, files, _RUN_COLUMNS)
    first = table.slice(0, 1).to_pylist()[0] if table.num_rows else dict.fromkeys(_RUN_COLUMNS, "")
    num_errors = sum(errors.get(path.rsplit("/", 1)[-1], 0) for path in files)
    return {**first, "num_rows": table.num_rows, "num_errors": num_errors}


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the shortest endings of paths, of one length in directories, that tell them apart."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _loss_plots(storage: Storage, directories: Sequence[str]) -> list[LossPlot]:
    plots = []
    for directory, label in zip(directories, short_names(directories), strict=True):
        files = storage.list_files(join(directory, "training_log", "data"), ".parquet")
        log = read_columns(storage, files, ["step", "kind", "loss", "learning_rate"]).to_pylist() if files else []
        plots.append(loss_plot(label, log))
    return [plot for plot in plots if plot is not None]
