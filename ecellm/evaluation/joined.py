"""Predictions of one (setting, task) joined with the samples that they answer, block by block.

Two passes, so that memory does not follow the texts: the first reads ids alone, and keeps three numbers a row; the
second reads both sides in step, a block of rows at a time. Where predictions do not lie in the order of the samples
(predict writes them so), they are held whole, as Arrow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.hashing import UIntArray, keys_of_texts
from ecellm.errors import InputError
from ecellm.evaluation.answered import (
    FACT_COLUMNS,
    FAILED,
    OPTIONAL_SAMPLE_COLUMNS,
    PREDICTION_COLUMNS,
    SAMPLE_COLUMNS,
    Answered,
    Row,
)
from ecellm.evaluation.row_reader import RowReader
from ecellm.schema import PREDICTIONS, SAMPLES
from ecellm.storage import Storage, join
from ecellm.tasks import find_task

IntArray = npt.NDArray[np.int64]
# Rows of a block: some 10 MB of Python objects at most.
BLOCK_ROWS = 2048
_RUN_COLUMNS = ("run_id", "model", "adapter", "decoding")
_ASKED_COLUMNS = ("sample_id", "task", "split", "setting")
_NO_PREDICTION = -1
_UNANSWERED: dict[str, str | None] = dict.fromkeys(_RUN_COLUMNS)


@dataclass(frozen=True)
class Joined:
    """Samples of one (setting, task) with a prediction each, in the samples' order: by split, then by row_index.

    Attributes:
        storage: access to the files.
        prediction_files: in the order in which `prediction_rows` counts their rows; none where only questions count.
        sample_files: the same for `sample_rows`.
        prediction_rows: int64 [num_rows], place of the prediction; -1 where the row failed.
        sample_rows: int64 [num_rows], place of the sample.
        splits: the split of each run of rows: (name, number of rows), in order.
        run: run_id, model, adapter and decoding of all rows; None each where only questions count.
        ranks_choices: whether the task is scored by what stands in the input.
    """

    storage: Storage
    prediction_files: Sequence[str]
    sample_files: Sequence[str]
    prediction_rows: IntArray
    sample_rows: IntArray
    splits: Sequence[tuple[str, int]]
    run: Mapping[str, str | None]
    ranks_choices: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sample_rows)

    def by_split(self) -> list["Joined"]:
        """Return the rows of each split by themselves."""
        ends = np.cumsum([0, *(number for _, number in self.splits)])
        return [
            replace(
                self,
                prediction_rows=self.prediction_rows[start:end],
                sample_rows=self.sample_rows[start:end],
                splits=[split],
            )
            for split, start, end in zip(self.splits, ends, ends[1:], strict=False)
        ]

    def blocks(self) -> Iterator[Answered]:
        """Yield the rows with all that scoring needs, at most `BLOCK_ROWS` at a time; each call reads them anew.

        Raises:
            InputError: a column holds what it must not.
        """
        samples, predictions = self._sample_reader(), self._prediction_reader()
        facts = [name for name in FACT_COLUMNS if predictions and name in predictions.columns]
        for start in range(0, len(self), BLOCK_ROWS):
            place = slice(start, start + BLOCK_ROWS)
            rows = samples.take(self.sample_rows[place]).to_pylist()
            if predictions is None:
                yield Answered(rows, [""] * len(rows), self.run)
                continue
            table = _answers(predictions, self.prediction_rows[place], facts)
            yield Answered(
                rows, table["response"].to_pylist(), self.run, {name: table[name].to_pylist() for name in facts}
            )

    def samples(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the samples alone, in order, with some columns; None: with those that scoring needs."""
        reader = self._sample_reader(columns)
        for start in range(0, len(self), BLOCK_ROWS):
            yield from reader.take(self.sample_rows[start : start + BLOCK_ROWS]).to_pylist()

    def _sample_reader(self, columns: Sequence[str] | None = None) -> RowReader:
        if columns is None:
            # Only rankings are scored by what stands in the input, the longest of a sample's texts.
            columns = (*SAMPLE_COLUMNS, "input") if self.ranks_choices else SAMPLE_COLUMNS
        return RowReader(
            self.storage,
            self.sample_files,
            SAMPLES,
            columns,
            optional=OPTIONAL_SAMPLE_COLUMNS,
            in_order=_is_in_order(self.sample_rows),
        )

    def _prediction_reader(self) -> RowReader | None:
        if self.run is _UNANSWERED:
            return None
        in_order = _is_in_order(self.prediction_rows[self.prediction_rows >= 0])
        return RowReader(
            self.storage, self.prediction_files, PREDICTIONS, ["response"], optional=FACT_COLUMNS, in_order=in_order
        )


@dataclass(frozen=True)
class Questions:
    """The samples of a join as a collection that can be gone over again and again, and is nowhere in memory."""

    joined: Joined

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.joined)

    def __iter__(self) -> Iterator[Row]:
        """Yield the samples in order."""
        return self.joined.samples()


def _is_in_order(rows: IntArray) -> bool:
    return bool(np.all(rows[1:] > rows[:-1]))


def _answers(reader: RowReader, rows: IntArray, facts: Sequence[str]) -> pa.Table:
    """Return responses and facts; of rows that failed, an empty text and their finish reason."""
    has_failed = rows == _NO_PREDICTION
    table = reader.take(rows[~has_failed])
    if not has_failed.any():
        return table
    places = np.where(has_failed, 0, np.cumsum(~has_failed) - 1)
    failed = pa.array(has_failed)
    columns = {}
    for name in ("response", *facts):
        column = table[name].combine_chunks()
        column = column.take(pa.array(places)) if len(column) else pa.nulls(len(rows), column.type)
        text = {"response": "", "finish_reason": FAILED}.get(name)
        columns[name] = pc.if_else(failed, pa.scalar(text, column.type), column)
    return pa.table(columns)


def join_answered(storage: Storage, predictions: Sequence[str], samples: Mapping[str, Sequence[str]]) -> Joined | None:
    """Join the predictions of one (setting, task) with the samples that they answer; None if there is no prediction.

    A row that failed has no prediction: it is answered by an empty text, so that no run gains by failing where it is
    hard. Its finish reason is `failed`. Rows of a place in which no row was answered are left out: nothing says which
    run they are of.

    Args:
        storage: access to the files.
        predictions: Parquet files of the predictions.
        samples: Parquet files of the samples of the same place, by split; only answered splits are read.

    Raises:
        InputError: a sample is missing or answered twice, the predictions come from more than one run, or a column
            that says which row is which holds what it must not.
    """
    # The response is read in the second pass; that every file has it is seen before.
    needed = [name for name in PREDICTION_COLUMNS if name != "response"]
    asked = _Asked()
    for path in predictions:
        asked.add(RowReader(storage, [path], PREDICTIONS, needed).require("response"))
    if not asked.num_rows:
        return None
    failed = _Asked()
    for path in predictions:
        _add_failed(storage, path, asked, failed)
    rows = np.concatenate([np.arange(asked.num_rows), np.full(failed.num_rows, _NO_PREDICTION)])
    keys = np.concatenate([asked.keys, failed.keys])
    if len(np.unique(keys)) < len(keys):
        raise InputError(f"{predictions[0]} and the files beside it answer a sample twice")
    wanted = _Wanted(predictions, asked.place, keys, rows, asked.splits | failed.splits)
    run = {name: asked.only_value(name, predictions[0]) for name in _RUN_COLUMNS}
    return _match(storage, wanted, samples, run)


def join_asked(storage: Storage, predictions: Sequence[str], samples: Mapping[str, Sequence[str]]) -> Joined | None:
    """Return the samples that any of several runs were asked, each once, without answers; None if there is none.

    Args and errors: as for `join_answered`.
    """
    everything = _Asked()
    for path in predictions:
        asked = _Asked()
        asked.add(RowReader(storage, [path], PREDICTIONS, _ASKED_COLUMNS))
        if asked.num_rows:
            _add_failed(storage, path, asked, asked)
            everything.merge(asked)
    if not everything.num_rows:
        return None
    keys = np.unique(everything.keys)
    rows = np.full(len(keys), _NO_PREDICTION)
    wanted = _Wanted(predictions, everything.place, keys, rows, everything.splits)
    return _match(storage, wanted, samples, _UNANSWERED)


class _Wanted(NamedTuple):
    """Whose samples are looked for: keys and prediction rows [num_rows], and in which splits."""

    predictions: Sequence[str]
    place: Mapping[str, str]
    keys: UIntArray
    rows: IntArray
    splits: set[str]


class _Asked:
    """What the first pass learns of predictions: 64-bit keys of the samples, splits, and who answered."""

    def __init__(self) -> None:
        self._keys: list[UIntArray] = []
        self.splits: set[str] = set()
        self.place: Mapping[str, str] = {}
        self._values: dict[str, set[str | None]] = {name: set() for name in _RUN_COLUMNS}

    @property
    def num_rows(self) -> int:
        return sum(map(len, self._keys))

    @property
    def keys(self) -> UIntArray:
        return np.concatenate([np.zeros(0, np.uint64), *self._keys])

    def add(self, reader: RowReader, only: Mapping[str, str] | None = None) -> None:
        """Read a file; of one that mixes places, the rows of the place `only`."""
        for table in reader.tables():
            for name, value in (only or {}).items():
                table = table.filter(pc.equal(table[name], value))  # noqa: PLW2901
            if not table.num_rows:
                continue
            self._keys.append(keys_of_texts(table["sample_id"]))
            self.splits.update(pc.unique(table["split"]).to_pylist())
            self.place = self.place or {name: table[name][0].as_py() for name in ("setting", "task")}
            for name in _RUN_COLUMNS:
                if name in table.column_names:
                    self._values[name].update(pc.unique(table[name]).to_pylist())

    def merge(self, other: "_Asked") -> None:
        """Take what another has learnt."""
        self._keys.append(other.keys)
        self.splits |= other.splits
        self.place = self.place or other.place

    def only_value(self, column: str, where: str) -> str | None:
        """Return the one value of a column."""
        values = self._values[column]
        if len(values) != 1:
            raise InputError(
                f"{where} and the files beside it mix several values of {column}: {sorted(map(str, values))}"
            )
        (value,) = values
        return value


def _add_failed(storage: Storage, path: str, answered: _Asked, failed: _Asked) -> None:
    """Add the rows of a part that failed, which lie in a part of equal name."""
    root, name = path.split("/data/setting=", maxsplit=1)[0], path.rsplit("/", 1)[-1]
    errors = join(root, "errors", name)
    if storage.exists(errors):
        reader = RowReader(storage, [errors], PREDICTIONS, _ASKED_COLUMNS)
        failed.add(reader, only=answered.place)


def _match(
    storage: Storage, wanted: _Wanted, samples: Mapping[str, Sequence[str]], run: Mapping[str, str | None]
) -> Joined:
    """Look for the samples of the predictions; each must be there once."""
    order = np.argsort(wanted.keys)
    found_rows, found_places, splits = [], [], []
    files: list[str] = []
    first = 0
    for split in sorted(wanted.splits):
        if split not in samples:
            raise InputError(
                f"there are predictions for {wanted.place['setting']}, {split}, {wanted.place['task']}, but the "
                "samples have no such rows: give the samples_dir that was answered"
            )
        files += samples[split]
        own_rows, own_places, num_rows = _find(storage, samples[split], wanted.keys, order)
        found_rows.append(own_rows + first)
        found_places.append(own_places)
        splits += [(split, len(own_rows))] if len(own_rows) else []
        first += num_rows
    places = np.concatenate(found_places)
    if len(np.unique(places)) < len(places):
        raise InputError(f"{files[0]} and the files beside it hold a sample twice")
    if len(places) < len(wanted.keys):
        missing = np.setdiff1d(np.arange(len(wanted.keys)), places)
        raise InputError(
            f"{wanted.predictions[0]} and the files beside it: sample "
            f"{_id_of(storage, wanted.predictions, wanted.keys[missing[0]])} (one of {len(missing):,}) is not in the "
            "samples: give the samples_dir that was answered"
        )
    task = find_task(wanted.place["task"])
    return Joined(
        storage,
        wanted.predictions,
        files,
        prediction_rows=wanted.rows[places],
        sample_rows=np.concatenate(found_rows),
        splits=splits,
        run=run,
        ranks_choices=task is not None and task.ranks_choices,
    )


def _find(storage: Storage, files: Sequence[str], keys: UIntArray, order: IntArray) -> tuple[IntArray, IntArray, int]:
    """Return places of the wanted samples in their files and among `keys`, by row_index, and how many rows there are.

    Args:
        storage: access to the files.
        files: the samples' of one split.
        keys: of the samples that are wanted.
        order: what sorts the keys.
    """
    ordered = keys[order]
    rows, places, indices = [], [], []
    first = 0
    for table in RowReader(storage, files, SAMPLES, ["sample_id", "row_index"]).tables():
        own = keys_of_texts(table["sample_id"])
        at = np.minimum(np.searchsorted(ordered, own), len(ordered) - 1)
        hits = np.flatnonzero(ordered[at] == own)
        rows.append(hits + first)
        places.append(order[at[hits]])
        indices.append(table["row_index"].to_numpy()[hits])
        first += table.num_rows
    nothing = [np.zeros(0, np.int64)]
    by_index = np.argsort(np.concatenate(nothing + indices), kind="stable")
    return np.concatenate(nothing + rows)[by_index], np.concatenate(nothing + places)[by_index], first


def _id_of(storage: Storage, predictions: Sequence[str], key: np.uint64) -> str:
    """Return the id that has a key."""
    for table in RowReader(storage, predictions, PREDICTIONS, ["sample_id"]).tables():
        hits = np.flatnonzero(keys_of_texts(table["sample_id"]) == key)
        if len(hits):
            return str(table["sample_id"][int(hits[0])].as_py())
    return "of a row that failed"
