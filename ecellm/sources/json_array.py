"""Streams the elements of one JSON array of any size, in constant memory, exactly as Python's json reads them.

The standard decoder (C speed) reads one element after the other from a sliding window of text. A streaming parser was
tried first (ijson with its C backend) and left: it turns a lone surrogate into `?` without a word, and what is stored
must be what was written.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

from ecellm.errors import InputError

_READ_BYTES = 1 << 20
_MAX_ELEMENT_CHARACTERS = 16 << 20  # of one row: as lists of nothing, fifty times as many bytes of memory
_SPACE = re.compile(r"[ \t\r\n]*")  # a gigabyte of blanks, character by character, would take minutes
# An error this close to the end of the window may be one of text that is not there yet.
_NEAR_END = 16


class _Window:
    """Decoded text of a byte stream: what was not consumed yet, grown on demand."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._next_read = _READ_BYTES
        self.text = ""
        self.start = 0
        self.at_end = False

    def grow(self) -> None:
        """Read on; the longer an element turns out to be, the more at a time."""
        block = self._handle.read(self._next_read)
        self.at_end = not block
        self.text = self.text[self.start :] + self._decoder.decode(block, final=self.at_end)
        self.start = 0
        self._next_read = max(_READ_BYTES, len(self.text))

    def skip_space(self) -> str:
        """Move to the next character that is no white space and return it; "" at the end of the stream."""
        while True:
            self.start = _SPACE.match(self.text, self.start).end()  # type: ignore[union-attr]  # it matches always
            if self.start < len(self.text):
                return self.text[self.start]
            if self.at_end:
                return ""
            self.grow()


def iter_json_array(handle: IO[bytes], path: str) -> Iterator[Any]:
    """Yield the elements of the array that `handle` holds.

    Args:
        handle: bytes of UTF-8.
        path: what messages call it.

    Raises:
        InputError: it is not an array, is malformed, or ends in the middle; the message says after which row.
    """
    number = -1
    try:
        for element in _elements(_Window(handle), path):
            number += 1
            yield element
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        where = f"after row {number}" if number >= 0 else "before the first row"
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is cut off or malformed {where} (rows count from 0): {reason}") from None


def _elements(window: _Window, path: str) -> Iterator[Any]:
    first = window.skip_space()
    if first != "[":
        shown = window.text[window.start : window.start + 20] or "nothing"
        raise InputError(
            f"{path} is not a JSON array: it begins with {shown!r}. The release is one array of rows; name own data "
            "*.jsonl or *.parquet"
        )
    window.start += 1
    if window.skip_space() == "]":
        window.start += 1
    else:
        while True:
            yield _element(window)
            separator = window.skip_space()
            window.start += 1
            if separator == "]":
                break
            if separator != ",":
                raise ValueError(f"expected ',' or ']', found {separator!r}" if separator else "the array has no end")
    if window.skip_space():
        raise ValueError(f"text behind the array: {window.text[window.start : window.start + 20]!r}")


_DECODER = json.JSONDecoder()


def _element(window: _Window) -> Any:
    """Decode the element at the window's start and move behind it."""
    window.skip_space()
    while True:
        try:
            value, end = _DECODER.raw_decode(window.text, window.start)
        except json.JSONDecodeError as error:
            unfinished = error.pos >= len(window.text) - _NEAR_END or error.msg.startswith("Unterminated string")
            if window.at_end or not unfinished:
                raise
        else:
            # A number that ends near the end of the window may go on behind it: "1" of "1.5e+3".
            if end + _NEAR_END <= len(window.text) or window.at_end:
                window.start = end
                return value
        if len(window.text) - window.start > _MAX_ELEMENT_CHARACTERS:
            raise ValueError(f"an element is longer than {_MAX_ELEMENT_CHARACTERS:,} characters")
        window.grow()
