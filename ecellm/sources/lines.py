"""Streams the lines of a plain or gzip file of any size, numbered from 1, in bounded memory."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from fsspec.spec import AbstractBufferedFile

from ecellm.errors import InputError
from ecellm.storage import Storage

MAX_LINE_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20


@contextmanager
def open_lines(storage: Storage, path: str) -> Iterator[IO[bytes]]:
    """Open a file for reading by line; a name that ends in `.gz` is decompressed on the way."""
    with storage.open_read(path) as raw:
        if path.endswith(".gz"):
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER_BYTES)
        elif isinstance(raw, AbstractBufferedFile):  # of object storage: its own readline takes no limit
            yield io.BufferedReader(raw, _BUFFER_BYTES)
        else:
            yield raw


def numbered_lines(handle: IO[bytes], path: str) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line with its end) of every line, blank ones too.

    Args:
        handle: bytes, decompressed.
        path: what messages call it.

    Raises:
        InputError: a line is longer than 64 MiB, or the stream is cut off or damaged; the message says where.
    """
    number = 0
    while line := _next_line(handle, path, number):
        number += 1
        if len(line) >= MAX_LINE_BYTES:
            raise InputError(f"{path}: line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
        yield number, line


def _next_line(handle: IO[bytes], path: str, line_number: int) -> bytes:
    try:
        return handle.readline(MAX_LINE_BYTES)
    except (EOFError, OSError, zlib.error) as error:  # of gzip
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is cut off or damaged after line {line_number}: {reason}") from None
