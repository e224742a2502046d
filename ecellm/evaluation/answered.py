"""Predictions and the samples that they answer: where both lie, and how they are joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.contract import conform
from ecellm.dataset.partitions import hive_keys, list_partitions
from ecellm.errors import InputError
from ecellm.schema import PREDICTIONS, SAMPLES
from ecellm.storage import Storage, join
from ecellm.tasks import find_task

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
_ASKED_COLUMNS = ("sample_id", "task", "split", "setting")
_NEVER_NULL = (*_ASKED_COLUMNS, "run_id", "response", "row_index", "output")
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
        run: run_id, model, adapter and decoding, the same for all rows; empty where no row was answered.
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

    def take(self, places: Sequence[int]) -> "Answered":
        """Return some of the rows, in the order of `places`."""
        facts = {name: [values[place] for place in places] for name, values in self.facts.items()}
        samples = [self.samples[place] for place in places]
        return replace(self, samples=samples, responses=[self.responses[place] for place in places], facts=facts)

    def by_split(self) -> list["Answered"]:
        """Return the rows of each split by themselves: rows are sorted by split, and nearly always there is one."""
        groups = groupby(range(len(self.samples)), key=lambda place: self.samples[place]["split"])
        return [self.take(list(places)) for _, places in groups]


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
    """Return all runs' files of each (setting, task): their samples together are what trivial baselines answer."""
    of_all: RunFiles = {}
    for of_run in predictions:
        for place, files in of_run.items():
            of_all.setdefault(place, []).extend(files)
    return dict(sorted(of_all.items()))


def num_rows(storage: Storage, path: str) -> int:
    """Return the number of rows of a Parquet file, of which only the end is read."""
    with storage.parquet_file(path) as file:
        return int(file.metadata.num_rows)


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
            missing = sorted(set(columns) - names)
            if missing:
                raise InputError(f"{path} lacks the columns {', '.join(missing)}")
            tables.append(file.read(columns=[*columns, *(name for name in optional if name in names)]))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{files[0]} and the files beside it do not have the same columns: {error}") from None


def read_answered(storage: Storage, predictions: Sequence[str], samples: Mapping[str, Sequence[str]]) -> Answered:
    """Join the predictions of one (setting, task) with the samples that they answer.

    A row that failed has no prediction: it is answered by an empty text, so that no run gains by failing where it is
    hard. Its finish reason is `failed`. Rows of a place in which no row was answered are left out: nothing says which
    run they are of.

    Args:
        storage: access to the files.
        predictions: Parquet files of the predictions.
        samples: Parquet files of the samples of the same place, by split; only answered splits are read.

    Raises:
        InputError: a sample is missing or answered twice, the predictions come from more than one run, or a column
            holds what it must not.
    """
    table = _conform(read_columns(storage, predictions, PREDICTION_COLUMNS, FACT_COLUMNS), PREDICTIONS, predictions[0])
    if not table.num_rows:
        return Answered([], [], {})
    run = {name: _only_value(table, name, predictions[0]) for name in ("run_id", "model", "adapter", "decoding")}
    table = pa.concat_tables([table, _failed_rows(storage, predictions, table)], promote_options="permissive")
    place_of = {sample_id: place for place, sample_id in enumerate(table["sample_id"].to_pylist())}
    if len(place_of) < table.num_rows:
        raise InputError(f"{predictions[0]} and the files beside it answer a sample twice")
    rows = _samples_with_ids(storage, samples, table)
    ordered = table.take([place_of[row["sample_id"]] for row in rows])
    facts = {name: ordered[name].to_pylist() for name in FACT_COLUMNS if name in ordered.column_names}
    return Answered(rows, ordered["response"].to_pylist(), run, facts)


def read_asked(storage: Storage, predictions: Sequence[str], samples: Mapping[str, Sequence[str]]) -> Answered:
    """Return the samples that any of several runs were asked, each once, with empty answers of no run."""
    tables = []
    for path in predictions:
        table = _conform(read_columns(storage, [path], _ASKED_COLUMNS), PREDICTIONS, path)
        tables += [table, _failed_rows(storage, [path], table).select(_ASKED_COLUMNS)] if table.num_rows else []
    if not tables:
        return Answered([], [], {})
    rows = _samples_with_ids(storage, samples, pa.concat_tables(tables, promote_options="permissive"))
    return Answered(rows, [""] * len(rows), dict.fromkeys(("run_id", "model", "adapter", "decoding")))


def _conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    return conform(table, schema, where, _NEVER_NULL)


def _failed_rows(storage: Storage, predictions: Sequence[str], answered: pa.Table) -> pa.Table:
    """Return rows of the predictions table for rows of these parts that failed, which lie in parts of equal names."""
    place = {name: answered[name][0].as_py() for name in ("setting", "task")}
    tables = [answered.slice(0, 0)]
    for path in predictions:
        root, name = path.split("/data/setting=")[0], path.rsplit("/", 1)[-1]
        errors = join(root, "errors", name)
        if not storage.exists(errors):
            continue
        failed = _conform(read_columns(storage, [errors], _ASKED_COLUMNS), PREDICTIONS, errors)
        for column, value in place.items():
            failed = failed.filter(pc.equal(failed[column], value))
        texts = {"response": "", "finish_reason": FAILED}
        for column in answered.column_names:
            if column in texts:
                failed = failed.append_column(column, pa.array([texts[column]] * failed.num_rows, pa.string()))
        tables.append(failed)
    return pa.concat_tables(tables, promote_options="permissive")


def check_ids(storage: Storage, predictions: Sequence[str], samples: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the run_id of each answer to one (setting, task).

    Raises:
        InputError: a predicted sample is not among the samples.
    """
    columns = PREDICTION_COLUMNS[:-1]  # without the long one, the response
    table = _conform(read_columns(storage, predictions, columns), PREDICTIONS, predictions[0])
    if table.num_rows:
        files = _sample_files(samples, table)
        found = _conform(read_columns(storage, files, ["sample_id"]), SAMPLES, files[0])
        _require_all(table, set(found["sample_id"].to_pylist()), predictions[0])
    run_ids: list[str] = table["run_id"].to_pylist()
    return run_ids


def _sample_files(samples: Mapping[str, Sequence[str]], predictions: pa.Table) -> list[str]:
    files: list[str] = []
    for split in sorted(set(predictions["split"].to_pylist())):
        if split not in samples:
            setting, task = predictions["setting"][0].as_py(), predictions["task"][0].as_py()
            raise InputError(
                f"there are predictions for {setting}, {split}, {task}, but the samples have no such rows: "
                "give the samples_dir that was answered"
            )
        files += samples[split]
    return files


def _samples_with_ids(storage: Storage, samples: Mapping[str, Sequence[str]], predictions: pa.Table) -> list[Row]:
    task = find_task(predictions["task"][0].as_py())
    # Only rankings are scored by what stands in the input, the longest of a sample's texts.
    columns = (*SAMPLE_COLUMNS, "input") if task is not None and task.ranks_choices else SAMPLE_COLUMNS
    files = _sample_files(samples, predictions)
    table = _conform(read_columns(storage, files, columns, OPTIONAL_SAMPLE_COLUMNS), SAMPLES, files[0])
    ids = pa.array(predictions["sample_id"].to_pylist(), pa.string())
    rows = table.filter(pc.is_in(table["sample_id"], value_set=ids)).to_pylist()
    found = {row["sample_id"] for row in rows}
    _require_all(predictions, found, "the predictions")
    if len(found) < len(rows):
        raise InputError(f"{files[0]} and the files beside it hold a sample twice")
    return sorted(rows, key=lambda row: (row["split"], row["row_index"]))


def _require_all(predictions: pa.Table, found: set[str], where: str) -> None:
    missing = [sample_id for sample_id in predictions["sample_id"].to_pylist() if sample_id not in found]
    if missing:
        raise InputError(
            f"{where}: sample {missing[0]} (one of {len(missing)}) is not in the samples: "
            "give the samples_dir that was answered"
        )


def _only_value(table: pa.Table, column: str, where: str) -> str | None:
    values = set(table[column].to_pylist())
    if len(values) != 1:
        raise InputError(f"{where} and the files beside it mix several values of {column}: {sorted(map(str, values))}")
    value = values.pop()
    return None if value is None else str(value)
