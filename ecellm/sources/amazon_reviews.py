"""Amazon Review data, 2018 and 2014: where the files of a category are, and what one line of each holds.

Upstream: jmcauley.ucsd.edu (2014), nijianmo.github.io/amazon (2018). Metadata and reviews are gzip JSON lines; the
2014 metadata has one Python dict literal a line, which is read by the literal parser and never executed.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ecellm.errors import InputError
from ecellm.storage import Storage, join

_DIRECTORY_2018 = "amazon_review_2018"
_MAX_LITERAL_BYTES = 2 << 20
_ASIN_LENGTH = 10
_MOST_SHOWN = 40
_RATING_FIELDS = 4
_TIMESTAMP = re.compile(r"[0-9]{1,18}")  # what 64 bits hold
_ADDRESS = re.compile(r" object at 0x[0-9a-f]+")


class Product(msgspec.Struct):
    """One line of the 2018 metadata; fields that are missing or null are None."""

    asin: str
    title: str | None = None
    brand: str | None = None
    category: list[str] | None = None
    also_buy: list[str | None] | None = None
    also_view: list[str | None] | None = None
    similar_item: str | None = None


class Review(msgspec.Struct):
    """One line of a review file."""

    asin: str | None = None
    reviewerID: str | None = None  # noqa: N815  upstream's name
    overall: float | None = None
    reviewText: str | None = None  # noqa: N815  upstream's name


class Rating(msgspec.Struct):
    """One line of a rating file, as text."""

    item: str
    user: str
    stars: str
    time: str


class OldProduct(msgspec.Struct):
    """What is used of one line of the 2014 metadata."""

    asin: str
    title: str | None = None
    brand: str | None = None


def meta_file(raw_dir: str, category: str) -> str:
    """Return the path of a category's product metadata (2018)."""
    return join(raw_dir, _DIRECTORY_2018, "meta", f"meta_{category}.json.gz")


def old_meta_file(raw_dir: str, category: str) -> str:
    """Return the path of a category's product metadata of 2014, which may be absent."""
    return join(raw_dir, "amazon_review_2014", "meta", f"meta_{category}.json.gz")


def rating_file(raw_dir: str, category: str) -> str:
    """Return the path of a category's ratings."""
    return join(raw_dir, _DIRECTORY_2018, "rating", f"{category}.csv")


def review_file(storage: Storage, raw_dir: str, category: str) -> str:
    """Return the path of a category's reviews: the whole file, or else upstream's 5-core of it."""
    whole, core = (join(raw_dir, _DIRECTORY_2018, "review", f"{category}{end}.json.gz") for end in ("", "_5"))
    return core if not storage.exists(whole) and storage.exists(core) else whole


def related_in_html(text: str) -> list[str]:
    """Return the ids that a `similar_item` field names: the ten characters one behind each word `asin`.

    The text is split at `asin`; of each piece, the first one too, one character is skipped and ten are taken (what
    they are is decided by whether the file has a product of that id).
    """
    return [piece[1 : 1 + _ASIN_LENGTH] for piece in text.split("asin")] if text else []


def decode_rating(line: bytes) -> Rating:
    """Return the rating of a line `item,user,rating,timestamp`.

    Raises:
        ValueError: it is none.
    """
    fields = line.decode("utf-8").strip("\r\n").split(",")
    if len(fields) != _RATING_FIELDS or not all(fields) or not _TIMESTAMP.fullmatch(fields[-1]):
        raise ValueError("is no item,user,rating,timestamp")
    return Rating(*fields)


_decode_old_product = msgspec.json.Decoder(OldProduct).decode
_STRINGS = re.compile(rb"\"(?:[^\"\\]|\\.)*\"|'((?:[^'\\]|\\.)*)'")
# Escapes that mean something else in JSON: \" once quotes are escaped, \/ (Python keeps the backslash), surrogates.
_NOT_AS_JSON = re.compile(rb'\\["/]|\\u[dD][89a-fA-F]')


def _as_json(line: bytes) -> bytes:
    """Return a Python literal as JSON where only the quotes of its strings differ; else something that is no JSON."""
    if b'"' not in line and b"\\" not in line:
        return line.replace(b"'", b'"')
    return _STRINGS.sub(_with_double_quotes, line)


def _with_double_quotes(found: re.Match[bytes]) -> bytes:
    body = found[1]
    return found[0] if body is None else b'"' + body.replace(b"\\'", b"'").replace(b'"', b'\\"') + b'"'


def decode_old_product(line: bytes) -> OldProduct:
    r"""Return the product of one Python dict literal.

    Most literals are JSON but for the quotes of their strings and are read as such, several times faster; whatever is
    no JSON then (None, True, \x escapes, code) is left to the literal parser.

    Raises:
        ValueError: the line is no literal of a dict with an `asin` (code is refused, never run), or is too long.
    """
    if len(line) > _MAX_LITERAL_BYTES:
        raise ValueError(f"longer than {_MAX_LITERAL_BYTES >> 20} MiB")
    if not _NOT_AS_JSON.search(line):
        try:
            return _decode_old_product(_as_json(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # the literal parser decides
    try:
        value: Any = ast.literal_eval(line.decode("utf-8").strip())
        product = msgspec.convert(value, OldProduct)
        msgspec.json.encode(product)
    except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError) as error:
        raise ValueError(f"not a Python literal of a product: {_reason(error)}") from None
    return product


def _reason(error: Exception) -> str:
    """Return an error's text in one line, the same in every run: without addresses of objects."""
    return _ADDRESS.sub("", " ".join(str(error).split()))[:200] or type(error).__name__


def require(storage: Storage, files: list[str]) -> None:
    """Raise `InputError` naming every file that is missing."""
    missing = [file for file in files if not storage.exists(file)]
    if missing:
        raise InputError(
            f"raw files are missing: {', '.join(missing)}. raw_dir must hold them under these names "
            "(python -m jobs.fetch brings them); leave out the task, or name other categories"
            + _beside(storage, missing)
        )


def _beside(storage: Storage, missing: Sequence[str]) -> str:
    """Return which files are there where the missing ones should be: a category may be mistyped."""
    directories = sorted({file.rpartition("/")[0] for file in missing})
    there = [file.rpartition("/")[2] for name in directories for file in storage.list_files(name)]
    return (
        f" (there are {', '.join(there[:_MOST_SHOWN])}{', ...' if len(there) > _MOST_SHOWN else ''})" if there else ""
    )
