"""Reads the ECInstruct release, or users' own instruction data, one row at a time in constant memory.

The release is one JSON array (529 MB); own data are JSON lines or Parquet. All three give numbered raw rows: plain
dicts, unchecked.
"""

import gzip
import json
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from ecellm.errors import InputError
from ecellm.sources.json_array import iter_json_array
from ecellm.storage import Storage

RawRow = dict[str, Any]
_PARQUET_BATCH_ROWS = 1024
_MAX_LINE_BYTES = 64 << 20


def iter_raw_rows(storage: Storage, path: str) -> Iterator[tuple[int, Any]]:
    """Yield (row number from 0, raw row) of a release or own-data file, chosen by the file's name.

    Raises:
        InputError: the file is missing, is not of its kind, or is cut off; the message says after which row.
    """
    if path.endswith(".parquet"):
        yield from _iter_parquet(storage, path)
        return
    with storage.open_read(path) as raw:
        handle: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw  # type: ignore[assignment]
        if path.removesuffix(".gz").endswith(".jsonl"):
            yield from iter_json_lines(handle, path)
        else:
            yield from enumerate(iter_json_array(handle, path))


def iter_json_lines(handle: IO[bytes], path: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of JSON lines; blank lines are passed over.

    Raises:
        InputError: a line is not JSON, or is longer than 64 MiB.
    """
    number = -1
    line_number = 0
    while line := handle.readline(_MAX_LINE_BYTES):
        line_number += 1
        if len(line) >= _MAX_LINE_BYTES:
            raise InputError(f"{path}: line {line_number} is longer than {_MAX_LINE_BYTES >> 20} MiB")
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: line {line_number} is not valid JSON: {_plain(error)}") from None
        yield number, row


def _iter_parquet(storage: Storage, path: str) -> Iterator[tuple[int, Any]]:
    number = 0
    with storage.parquet_file(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged after row {number - 1}: {_plain(error)}") from None


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
