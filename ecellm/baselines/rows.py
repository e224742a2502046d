"""Rows of the samples, as task-specific models read them."""

from collections.abc import Sequence

from ecellm.baselines.sample_texts import Row
from ecellm.dataset import segments
from ecellm.inference.asking import SAMPLE_KEYS
from ecellm.storage import Storage

COLUMNS = (*SAMPLE_KEYS, "input", "output", "options", "relevance")
_ROWS_AT_ONCE = 8192


def read_rows(storage: Storage, files: Sequence[str], limit: int | None) -> list[Row]:
    """Return the first rows of some files.

    Raises:
        InputError: a column is missing or holds other values than the contract says.
    """
    pieces = segments.cut(storage, files, _ROWS_AT_ONCE, limit, COLUMNS)
    return [
        row for piece in pieces for row in segments.read(storage, piece, COLUMNS, never_null={*SAMPLE_KEYS, "input"})
    ]
