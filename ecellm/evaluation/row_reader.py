"""Rows of several Parquet files by their places, read batch by batch where they are asked for in order."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ecellm.contract import conform, plain_type, require_columns
from ecellm.storage import Storage

_BATCH_ROWS = 4096
# Checked in every batch: whatever else is wrong with a row, these say which row it is, and what is scored.
_NEVER_NULL = {"sample_id", "task", "split", "setting", "run_id", "response", "row_index", "output"}


class RowReader:
    """Reads some columns of some files.

    Attributes:
        columns: those that every row has: the required ones, and optional ones that at least one file has.
    """

    def __init__(
        self,
        storage: Storage,
        files: Sequence[str],
        schema: pa.Schema,
        columns: Sequence[str],
        *,
        optional: Sequence[str] = (),
        in_order: bool = True,
    ) -> None:
        """Look at the files' columns.

        Args:
            storage: access to the files.
            files: their rows are counted one file after the other.
            schema: the contract whose types the columns get.
            columns: must be in every file.
            optional: are left out where no file has them, and null in the files that do not.
            in_order: whether `take` is asked for ascending places alone; otherwise the columns are held whole.

        Raises:
            InputError: a file lacks one of the columns.
        """
        self._storage, self._files, self._schema, self._in_order = storage, files, schema, in_order
        self._schemas = [self._schema_of(path) for path in files]
        self.require(*columns)
        self.columns = [*columns, *(name for name in optional if any(name in own.names for own in self._schemas))]
        self._batches = self.tables()
        self._batch, self._first = self._nothing(), 0

    def _schema_of(self, path: str) -> pa.Schema:
        with self._storage.parquet_file(path) as file:
            return file.schema_arrow

    def require(self, *columns: str) -> Self:
        """Raise `InputError` if a file lacks columns, also such as are not read."""
        for path, own in zip(self._files, self._schemas, strict=True):
            require_columns(path, own, self._schema, columns)
        return self

    def _nothing(self) -> pa.Table:
        return pa.schema([(name, plain_type(self._schema, name)) for name in self.columns]).empty_table()

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows, a batch at a time.

        Raises:
            InputError: a value does not fit its type, or is null where it must not be.
        """
        for path, own in zip(self._files, self._schemas, strict=True):
            there = [name for name in self.columns if name in own.names]
            with self._storage.parquet_file(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=there):
                    yield self._completed(conform(pa.Table.from_batches([batch]), self._schema, path, _NEVER_NULL))

    def _completed(self, table: pa.Table) -> pa.Table:
        for name in self.columns:
            if name not in table.column_names:
                kind = plain_type(self._schema, name)
                table = table.append_column(name, pa.nulls(table.num_rows, kind))
        return table.select(self.columns)

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return rows by their places, in the order of `rows`; places of later calls follow those of this one."""
        if not self._in_order:
            return self._whole.take(pa.array(rows))
        pieces = [self._nothing()]
        while len(rows):
            num_here = int(np.searchsorted(rows, self._first + self._batch.num_rows))
            if num_here:
                pieces.append(self._batch.take(pa.array(rows[:num_here] - self._first)))
                rows = rows[num_here:]
            else:
                self._first += self._batch.num_rows
                self._batch = next(self._batches)
        return pa.concat_tables(pieces)

    @cached_property
    def _whole(self) -> pa.Table:
        return pa.concat_tables([self._nothing(), *self.tables()]).combine_chunks()
