"""Reads the ECInstruct release, or users' own instruction data, one row at a time in constant memory.

The release is one JSON array (529 MB); own data are JSON lines or Parquet. All three give numbered raw rows: plain
dicts, unchecked.
"""

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from ecellm.errors import InputError
from ecellm.json_text import read_json
from ecellm.sources.json_array import iter_json_array
from ecellm.sources.lines import numbered_lines, open_lines
from ecellm.storage import Storage

RawRow = dict[str, Any]
_PARQUET_BATCH_ROWS = 1024
_TAIL_BYTES = 4096


def iter_raw_rows(storage: Storage, path: str) -> Iterator[tuple[int, Any]]:
    """Yield (row number from 0, raw row) of a release or own-data file, chosen by the file's name.

    Raises:
        InputError: the file is missing, is not of its kind, or is cut off; the message says after which row.
    """
    if path.endswith(".parquet"):
        yield from _iter_parquet(storage, path)
        return
    with open_lines(storage, path) as handle:
        if path.removesuffix(".gz").endswith(".jsonl"):
            yield from iter_json_lines(handle, path)
        else:
            yield from enumerate(iter_json_array(handle, path))


def check_ends(storage: Storage, path: str) -> None:
    """Look at the first row, and at the last bytes of an array, before all of it is read.

    Raises:
        InputError: it is not of its kind, holds no row, or an array does not end with `]`.
    """
    if next(iter_raw_rows(storage, path), None) is None:
        raise InputError(f"{path} holds no rows")
    if path.endswith((".parquet", ".jsonl", ".gz")):
        return
    with storage.open_read(path) as handle:
        handle.seek(max(0, storage.size(path) - _TAIL_BYTES))
        tail = handle.read().rstrip()
    if not tail.endswith(b"]"):
        shown = tail[-30:].decode("utf-8", "replace")
        raise InputError(f"{path} is cut off or malformed: it ends with {shown!r}, not with the array's ']'")


def iter_json_lines(handle: IO[bytes], path: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of JSON lines; blank lines are passed over.

    Raises:
        InputError: a line is not JSON, or is longer than 64 MiB.
    """
    row = -1
    for line_number, line in numbered_lines(handle, path):
        if not line.strip():
            continue
        row += 1
        try:
            value = read_json(line)
        except ValueError as error:
            raise InputError(f"{path}: line {line_number} is not valid JSON: {_plain(error)}") from None
        yield row, value


def _iter_parquet(storage: Storage, path: str) -> Iterator[tuple[int, Any]]:
    number = 0
    with storage.parquet_file(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        # ValueError, OverflowError: text that is none, days and times that Python cannot hold.
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InputError(f"{path} is damaged after row {number - 1}: {_plain(error)}") from None


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
