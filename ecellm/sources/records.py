"""Reads JSON lines as typed records, and keeps aside the lines that are none.

msgspec decodes only the fields that a record type names, several times faster than `json`, and checks their types. A
line that it refuses is tried once more with Python's json, which is what upstream's files were written for (bare NaN
in fields that nobody reads).
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa

from ecellm.dataset.partitions import part_name
from ecellm.errors import InputError
from ecellm.schema import QUARANTINE
from ecellm.sources.lines import numbered_lines, open_lines
from ecellm.storage import Storage, join

Record = TypeVar("Record", bound=msgspec.Struct)
_MAX_SHOWN_CHARACTERS = 10_000
_FIRST_LINES = 100


class Quarantine:
    """Collects lines that could not be read and writes them, with file, line number and reason, as Parquet."""

    _ROWS_PER_FILE = 1000

    def __init__(self, storage: Storage, directory: str, file: str) -> None:
        self._storage = storage
        self._directory = directory
        self._file = file
        self._rows: list[dict[str, Any]] = []
        self._num_files = 0
        self.num_rows = 0

    def add(self, row: str | bytes, reason: str, *, row_number: int, line_number: int | None = None) -> None:
        """Take one bad row or line.

        Args:
            row: what was refused; the first 10,000 characters are kept.
            reason: why.
            row_number: its place in the file, from 0.
            line_number: its line, from 1; None where the input has no lines.
        """
        text = row.decode("utf-8", errors="replace") if isinstance(row, bytes) else row
        shown = text.rstrip("\r\n")[:_MAX_SHOWN_CHARACTERS]
        self.num_rows += 1
        self._rows.append(
            {"row_number": row_number, "line_number": line_number, "file": self._file, "reason": reason, "row": shown}
        )
        if len(self._rows) >= self._ROWS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write the rows at hand; to be called at the end."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=QUARANTINE)
            self._storage.write_table(join(self._directory, part_name(self._num_files)), table)
            self._num_files += 1
            self._rows = []


class RecordDecoder(Generic[Record]):
    """Decodes one line as a record.

    Args:
        record_type: a msgspec Struct with a default for every field that a line may lack.
    """

    def __init__(self, record_type: type[Record]) -> None:
        self._type = record_type
        self._decode = msgspec.json.Decoder(record_type).decode

    def __call__(self, line: bytes) -> Record:
        """Return the record.

        Raises:
            ValueError: the line is not JSON, a field has another type, or holds a lone surrogate.
        """
        try:
            return self._decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return self._decode_as_python_does(line, error)

    def _decode_as_python_does(self, line: bytes, first: Exception) -> Record:
        try:
            record = msgspec.convert(json.loads(line), self._type)
            msgspec.json.encode(record)  # raises where a text holds a lone surrogate, which is no text
        except (ValueError, TypeError, RecursionError):
            raise ValueError(" ".join(str(first).split())[:200]) from None
        return record


def look_at_records(storage: Storage, path: str, decode: Callable[[bytes], Record]) -> None:
    """Read the first lines of a file, before all of it is read.

    Raises:
        InputError: the file is missing, damaged or empty, or none of its first lines can be read.
    """
    reason = "it is empty"
    with open_lines(storage, path) as handle:
        for number, line in numbered_lines(handle, path):
            try:
                decode(line)
            except ValueError as error:
                reason = f"its first {number} lines cannot be read, the last because: {error}"
            else:
                return
            if number == _FIRST_LINES:
                break
    raise InputError(f"{path}: {reason}. Is it the right file?")


def iter_records(
    storage: Storage,
    path: str,
    decode: Callable[[bytes], Record],
    quarantine: Quarantine,
    max_lines: int | None = None,
) -> Iterator[tuple[int, Record]]:
    """Yield (line number from 1, record) of a file of lines; bad lines go to the quarantine, blank ones are skipped.

    Args:
        storage: access to the file.
        path: plain or `.gz`.
        decode: makes a record of a line, or raises ValueError.
        quarantine: takes the bad lines; flushed at the end.
        max_lines: stop after so many lines of the file.

    Raises:
        InputError: the file is missing, cut off, or none of its lines can be read.
    """
    num_good = 0
    with open_lines(storage, path) as handle:
        for number, line in numbered_lines(handle, path):
            if max_lines is not None and number > max_lines:
                break
            try:
                record = decode(line)
            except ValueError as error:
                if line.strip():
                    quarantine.add(line, str(error), row_number=number - 1, line_number=number)
                continue
            num_good += 1
            yield number, record
    quarantine.flush()
    if not num_good and quarantine.num_rows:
        raise InputError(f"{path}: none of its {quarantine.num_rows:,} lines can be read; is it the right file?")
