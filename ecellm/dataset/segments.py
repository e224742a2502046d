"""Cuts a partition's files into pieces of equal numbers of rows, and reads a piece back."""

from collections.abc import Sequence
from typing import Any

from ecellm.storage import Storage

# [file, first row, end row]: JSON-able, as shards are.
Segment = list[Any]


def cut(storage: Storage, files: Sequence[str], rows_per_piece: int, limit: int | None = None) -> list[list[Segment]]:
    """Cut the rows of `files`, in order, into pieces of `rows_per_piece` rows (the last may be smaller).

    Args:
        storage: access to the files; only their footers are read.
        files: Parquet files in order.
        rows_per_piece: rows of a piece.
        limit: stop after so many rows.

    Returns:
        Pieces; each is a list of segments [file, first row, end row].
    """
    pieces: list[list[Segment]] = []
    room = 0
    left = limit if limit is not None else float("inf")
    for file in files:
        with storage.parquet_file(file) as parquet:
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


def read(storage: Storage, piece: Sequence[Segment], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a piece; only the row groups that hold them are read."""
    rows: list[dict[str, Any]] = []
    for file, start, end in piece:
        with storage.parquet_file(file) as parquet:
            first = 0
            for group in range(parquet.num_row_groups):
                stop = first + parquet.metadata.row_group(group).num_rows
                if first < end and stop > start:
                    table = parquet.read_row_group(group, columns=columns)
                    rows += table.slice(max(start - first, 0), min(end, stop) - max(start, first)).to_pylist()
                first = stop
    return rows
