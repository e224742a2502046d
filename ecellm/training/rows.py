"""Reading training rows: row groups of Parquet in, `TrainingRow`s in an epoch's order out."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ecellm.errors import InputError
from ecellm.storage import Storage, join
from ecellm.training.batches import TrainingRow
from ecellm.training.order import RowGroup, Window, epoch_windows, sequential_windows

INDEX_NAME = "_index.parquet"
_MANY_ROWS = 4096
_COLUMNS = ["position", "sample_id", "input_ids", "labels", "num_prompt_tokens", "task", "setting"]


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
    rows = storage.read_table(path, ["file", "row_group", "first_position", "num_rows"]).to_pylist()
    groups = [RowGroup(**row) for row in rows if row["num_rows"]]
    if elsewhere := next((group.file for group in groups if "/" in group.file), None):
        raise InputError(f"{path} names {elsewhere!r}, which is no file beside it: run preprocess again")
    return tuple(sorted(groups, key=lambda group: group.first_position))


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
        by_file: dict[str, list[int]] = {}
        for group in window.groups:
            by_file.setdefault(group.file, []).append(group.row_group)
        rows: dict[int, TrainingRow] = {}
        for name, groups in by_file.items():
            with self._storage.parquet_file(join(self._directory, name)) as file:
                table = file.read_row_groups(groups, columns=_COLUMNS)
            rows |= {row.position: row for row in rows_of_table(table)}
        return rows
