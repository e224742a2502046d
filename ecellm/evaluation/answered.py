"""Predictions and the samples that they answer: where both lie, and what of them is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ecellm.contract import conform, require_names
from ecellm.dataset.partitions import hive_keys, list_partitions
from ecellm.errors import InputError
from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage, join

PREDICTION_COLUMNS = ("run_id", "model", "adapter", "decoding", "sample_id", "task", "split", "setting", "response")
# What else is known of an answer; predictions that others made may lack them.
FACT_COLUMNS = ("num_prompt_tokens", "was_shortened", "finish_reason")
SAMPLE_COLUMNS = (
    "sample_id",
    "example_id",
    "task",
    "split",
    "setting",
    "row_index",
    "output",
    "options",
    "relevance",
)
# Samples that others made may lack it.
OPTIONAL_SAMPLE_COLUMNS = ("category",)
FAILED = "failed"
PredictionPlace = tuple[str, str]
RunFiles = dict[PredictionPlace, list[str]]
SampleFiles = dict[PredictionPlace, dict[str, list[str]]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """Samples with a response each, in the samples' order.

    Attributes:
        samples: rows of the samples table.
        responses: what was answered; nothing where a row failed.
        run: run_id, model, adapter, decoding and engine, the same for all rows; empty where no row was answered.
        facts: those of `FACT_COLUMNS` that the predictions have, one value for each response.
    """

    samples: Sequence[Row]
    responses: Sequence[str]
    run: Mapping[str, str | None]
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Of the run that answered."""
        return str(self.run["run_id"])


def list_runs(storage: Storage, predictions_dir: str) -> list[RunFiles]:
    """Return the Parquet files of every run below a predictions directory, by (setting, task), sorted.

    A directory holds several runs where several adapters answered in one job; each file is of one run. Runs come in the
    order of their first files, files without rows with the run before them.

    Raises:
        InputError: there are none.
    """
    runs: dict[str, RunFiles] = {}
    run_id = ""
    for path in sorted(storage.list_files(join(predictions_dir, "data"), ".parquet"), key=_by_name):
        keys = hive_keys(path)
        if {"setting", "task"} <= keys.keys():
            run_id = _first_run_id(storage, path) or run_id
            runs.setdefault(run_id, {}).setdefault((keys["setting"], keys["task"]), []).append(path)
    if not runs:
        raise InputError(f"{predictions_dir} holds no predictions (data/setting=/task=/*.parquet)")
    if len(runs) > 1:  # files without rows that came before any others
        for place, files in runs.pop("", {}).items():
            first = next(iter(runs.values()))
            first[place] = files + first.get(place, [])
    return [dict(sorted(files.items())) for files in runs.values()]


def _by_name(path: str) -> tuple[str, str]:
    """Order files by their own names: parts are numbered run by run."""
    return path.rsplit("/", 1)[-1], path


def _first_run_id(storage: Storage, path: str) -> str | None:
    with storage.parquet_file(path) as file:
        if "run_id" not in file.schema_arrow.names:
            raise InputError(f"{path} lacks the columns run_id")
        batch = next(file.iter_batches(batch_size=1, columns=["run_id"]), None)
    return None if batch is None or not batch.num_rows else str(batch["run_id"][0].as_py())


def asked_by_any(predictions: Sequence[RunFiles]) -> RunFiles:
    """Return all runs' files of each (setting, task): their samples together are what floors answer."""
    of_all: RunFiles = {}
    for of_run in predictions:
        for place, files in of_run.items():
            of_all.setdefault(place, []).extend(files)
    return dict(sorted(of_all.items()))


def num_rows(storage: Storage, path: str) -> int:
    """Return the number of rows of a Parquet file, of which only the end is read."""
    with storage.parquet_file(path) as file:
        return int(file.metadata.num_rows)


def first_row(storage: Storage, path: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return some columns of the first row of predictions, None where they lack them; nothing of an empty file."""
    with storage.parquet_file(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        batch = next(file.iter_batches(batch_size=1, columns=there), None)
    if batch is None or not batch.num_rows:
        return {}
    row = conform(pa.Table.from_batches([batch]), PREDICTIONS, path, ()).to_pylist()[0]
    return dict.fromkeys(columns) | row


def first_row_of_run(storage: Storage, of_run: RunFiles, columns: Sequence[str]) -> dict[str, Any]:
    """Return some columns of the first row of a run, None where its files lack them; nothing of one without answers."""
    for path in (path for files in of_run.values() for path in files):
        if row := first_row(storage, path, columns):
            return row
    return {}


def sample_files(storage: Storage, samples_dir: str) -> SampleFiles:
    """Return the Parquet files of the samples by (setting, task), then by split."""
    files: SampleFiles = {}
    for partition, paths in list_partitions(storage, samples_dir).items():
        files.setdefault((partition.setting, partition.task), {})[partition.split] = paths
    return files


def read_columns(
    storage: Storage, files: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()
) -> pa.Table:
    """Return some columns of some Parquet files as one table.

    Args:
        storage: access to the files.
        files: at least one.
        columns: must be in every file.
        optional: are left out where no file has them, and null in the files that do not.

    Raises:
        InputError: a file lacks one of the columns.
    """
    tables = []
    for path in files:
        with storage.parquet_file(path) as file:
            names = set(file.schema_arrow.names)
            require_names(path, file.schema_arrow, columns)
            tables.append(file.read(columns=[*columns, *(name for name in optional if name in names)]))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{files[0]} and the files beside it do not have the same columns: {error}") from None
