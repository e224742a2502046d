"""Reading training rows: row groups of Parquet in, `TrainingRow`s in an epoch's order out."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecellm.contract import conform, require_columns
from ecellm.errors import InputError
from ecellm.schema import TRAINING_INDEX, TRAINING_ROWS
from ecellm.storage import Storage, join
from ecellm.training.batches import TrainingRow
from ecellm.training.order import RowGroup, Window, epoch_windows, sequential_windows

INDEX_NAME = "_index.parquet"
_INDEX_COLUMNS = ("file", "row_group", "first_position", "num_rows")
_MANY_ROWS = 4096
_NEVER_NULL = {field.name for field in TRAINING_ROWS if not field.nullable}
COLUMNS = ("position", "sample_id", "input_ids", "labels", "num_prompt_tokens", "task", "setting")


def split_directory(rows_dir: str, split: str) -> str:
    """Return the directory of a split's files."""
    return join(rows_dir, "data", f"split={split}")


def read_index(storage: Storage, rows_dir: str, split: str) -> tuple[RowGroup, ...]:
    """Return a split's row groups in file order; empty if the split has no rows.

    Raises:
        InputError: there are rows but no index: preprocess did not finish. Or the index names a file elsewhere.
    """
    directory = split_directory(rows_dir, split)
    path = join(directory, INDEX_NAME)
    if not storage.exists(path):
        if storage.list_files(directory, ".parquet"):
            raise InputError(f"{path} does not exist: the rows are not complete. Run preprocess again")
        return ()
    with storage.parquet_file(path) as file:
        require_columns(path, file.schema_arrow, TRAINING_INDEX, _INDEX_COLUMNS)
        rows = conform(file.read(columns=list(_INDEX_COLUMNS)), TRAINING_INDEX, path, _INDEX_COLUMNS).to_pylist()
    groups = sorted((RowGroup(**row) for row in rows if row["num_rows"]), key=lambda group: group.first_position)
    _check_groups(groups, path)
    return tuple(groups)


def _check_groups(groups: Sequence[RowGroup], path: str) -> None:
    """Raise `InputError` if row groups leave the split's directory, overlap, or leave positions out."""
    position = 0
    for group in groups:
        if group.file != group.file.rpartition("/")[2] or not group.file.endswith(".parquet"):
            raise InputError(f"{path} names {group.file!r}, which is no Parquet file beside it. Run preprocess again")
        if group.first_position != position or group.num_rows < 0 or group.row_group < 0:
            raise InputError(
                f"{path}: row group {group.row_group} of {group.file} begins at {group.first_position} with "
                f"{group.num_rows} rows, but {position} rows come before it. Run preprocess again"
            )
        position += group.num_rows


def read_group(file: pq.ParquetFile, group: RowGroup, path: str, columns: Sequence[str]) -> pa.Table:
    """Return some columns of a row group, with the types of the contract.

    Raises:
        InputError: the file does not hold what the index says, or other rows than the contract's.
    """
    if group.row_group >= file.num_row_groups or file.metadata.row_group(group.row_group).num_rows != group.num_rows:
        raise InputError(f"{path} has other row groups than its {INDEX_NAME} says. Run preprocess again")
    require_columns(path, file.schema_arrow, TRAINING_ROWS, columns)
    return conform(file.read_row_group(group.row_group, columns=list(columns)), TRAINING_ROWS, path, _NEVER_NULL)


def num_rows(index: Sequence[RowGroup]) -> int:
    """Return the rows of all row groups."""
    return sum(group.num_rows for group in index)


def rows_of_table(table: pa.Table) -> list[TrainingRow]:
    """Return a table's rows; their token ids are views into its buffers."""
    inputs, labels = _lists(table["input_ids"]), _lists(table["labels"])
    return [
        TrainingRow(position, sample_id, ids, answer, prompt, task, setting)
        for position, sample_id, ids, answer, prompt, task, setting in zip(
            table["position"].to_pylist(),
            table["sample_id"].to_pylist(),
            inputs,
            labels,
            table["num_prompt_tokens"].to_pylist(),
            table["task"].to_pylist(),
            table["setting"].to_pylist(),
            strict=True,
        )
        if ids is not None
    ]


def _lists(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    result: list[np.ndarray | None] = []
    for chunk in column.chunks:
        if pa.types.is_null(chunk.type):
            result += [None] * len(chunk)
            continue
        values = chunk.values.to_numpy(zero_copy_only=False)
        offsets, valid = chunk.offsets.to_numpy(), chunk.is_valid().to_pylist()
        result += [values[offsets[i] : offsets[i + 1]] if valid[i] else None for i in range(len(chunk))]
    return result


class RowReader:
    """Reads one split's rows in the order that training asks for."""

    def __init__(self, storage: Storage, rows_dir: str, split: str) -> None:
        self._storage = storage
        self._directory = split_directory(rows_dir, split)
        self.index = read_index(storage, rows_dir, split)
        self.num_rows = num_rows(self.index)

    def epoch(
        self, *, seed: int, epoch: int, global_batch_size: int, first_batch: int = 0
    ) -> Iterator[list[TrainingRow]]:
        """Yield an epoch's global batches from `first_batch` on; windows before it are not read."""
        windows = epoch_windows(self.index, seed=seed, epoch=epoch)
        return self._batches(windows, global_batch_size, first_batch * global_batch_size)

    def in_order(self, batch_size: int) -> Iterator[list[TrainingRow]]:
        """Yield all rows in file order, in batches."""
        return self._batches(sequential_windows(self.index), batch_size, 0)

    def longest(self) -> TrainingRow:
        """Return the longest row, the first of equals; all rows are read once."""
        batches = self.in_order(_MANY_ROWS)
        return max((row for batch in batches for row in batch), key=lambda row: row.num_tokens)

    def _batches(self, windows: Iterator[Window], batch_size: int, num_skipped: int) -> Iterator[list[TrainingRow]]:
        batch: list[TrainingRow] = []
        for window in windows:
            positions = window.positions[num_skipped:]
            num_skipped = max(num_skipped - len(window.positions), 0)
            if not len(positions):
                continue
            rows = self._read(window)
            for position in positions.tolist():
                batch.append(rows[position])
                if len(batch) == batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _read(self, window: Window) -> dict[int, TrainingRow]:
        by_file: dict[str, list[RowGroup]] = {}
        for group in window.groups:
            by_file.setdefault(group.file, []).append(group)
        rows: dict[int, TrainingRow] = {}
        for name, groups in by_file.items():
            path = join(self._directory, name)
            with self._storage.parquet_file(path) as file:
                for group in groups:
                    table = read_group(file, group, path, COLUMNS)
                    rows |= {row.position: row for row in rows_of_table(table)}
        return rows
