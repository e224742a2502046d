"""Cuts a partition's files into pieces of equal numbers of rows, and reads a piece back."""

from collections.abc import Collection, Sequence
from typing import Any

from ecellm.contract import conform, require_columns
from ecellm.schema import SAMPLES
from ecellm.storage import Storage

# [file, first row, end row]: JSON-able, as shards are.
Segment = list[Any]
_NEVER_NULL = {field.name for field in SAMPLES if not field.nullable}


def cut(
    storage: Storage, files: Sequence[str], rows_per_piece: int, limit: int | None = None, columns: Sequence[str] = ()
) -> list[list[Segment]]:
    """Cut the rows of `files`, in order, into pieces of `rows_per_piece` rows (the last may be smaller).

    Args:
        storage: access to the files; only their footers are read.
        files: Parquet files in order.
        rows_per_piece: rows of a piece.
        limit: stop after so many rows.
        columns: those of the samples that will be read.

    Returns:
        Pieces; each is a list of segments [file, first row, end row].

    Raises:
        InputError: a file lacks one of the columns, or it is of another kind.
    """
    pieces: list[list[Segment]] = []
    room = 0
    left = limit if limit is not None else float("inf")
    for file in files:
        with storage.parquet_file(file) as parquet:
            require_columns(file, parquet.schema_arrow, SAMPLES, columns)
            num_rows = int(min(parquet.metadata.num_rows, left))
        left -= num_rows
        start = 0
        while start < num_rows:
            if room == 0:
                pieces.append([])
                room = rows_per_piece
            end = min(num_rows, start + room)
            pieces[-1].append([file, start, end])
            room -= end - start
            start = end
    return pieces


def num_rows(piece: Sequence[Segment]) -> int:
    """Return how many rows a piece has."""
    return sum(end - start for _, start, end in piece)


def read(
    storage: Storage, piece: Sequence[Segment], columns: Sequence[str], never_null: Collection[str] = _NEVER_NULL
) -> list[dict[str, Any]]:
    """Return the rows of a piece; only the row groups that hold them are read.

    Args:
        storage: access to the files.
        piece: of `cut`.
        columns: those of the samples that are read.
        never_null: columns that must hold no null; default those of the contract.

    Raises:
        InputError: a column is missing, holds other values than the contract says, or a null where there is none.
    """
    rows: list[dict[str, Any]] = []
    for file, start, end in piece:
        with storage.parquet_file(file) as parquet:
            require_columns(file, parquet.schema_arrow, SAMPLES, columns)
            first = 0
            for group in range(parquet.num_row_groups):
                stop = first + parquet.metadata.row_group(group).num_rows
                if first < end and stop > start:
                    table = parquet.read_row_group(group, columns=list(columns))
                    table = conform(table, SAMPLES, file, never_null)
                    rows += table.slice(max(start - first, 0), min(end, stop) - max(start, first)).to_pylist()
                first = stop
    return rows
