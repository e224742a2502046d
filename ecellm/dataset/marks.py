"""Marks on selected examples: which are repeats of an earlier one, and which are left out as leaks.

A mark is (place of the example in its split, running number among identical ones, whether it leaks). Few examples have
one, so the marks of a split fit anywhere; whoever writes samples reads those of its split.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ecellm.dataset.builders.exchange import IntArray, write_staged
from ecellm.dataset.builders.flow import Context, Result

MARKS = pa.schema([("split_number", pa.int32()), ("place", pa.int64()), ("copy", pa.int64()), ("is_leak", pa.bool_())])


@dataclass(frozen=True)
class Marks:
    """The marks of one split.

    Attributes:
        repeats: places of examples that have an identical one before them, rising.
        copies: how many of these there are before each.
        leaks: places of examples that are left out, rising.
    """

    repeats: IntArray
    copies: IntArray
    leaks: IntArray

    def rows_before(self, place: int) -> int:
        """Return how many examples before `place` are kept."""
        return place - int(np.searchsorted(self.leaks, place))

    def places_of(self, rows: IntArray) -> IntArray:
        """Return the places of kept examples by their row numbers."""
        return rows + np.searchsorted(self.leaks - np.arange(len(self.leaks)), rows, side="right")

    def is_kept(self, first: int, count: int) -> npt.NDArray[np.bool_]:
        """Return which of the examples at `first`, `first + 1`, ... are kept: bool [count]."""
        kept = np.ones(count, bool)
        low, high = np.searchsorted(self.leaks, [first, first + count])
        kept[self.leaks[low:high] - first] = False
        return kept

    def copies_of(self, first: int, count: int) -> IntArray:
        """Return the running number of the examples at `first`, `first + 1`, ...: int64 [count]."""
        copies = np.zeros(count, np.int64)
        low, high = np.searchsorted(self.repeats, [first, first + count])
        copies[self.repeats[low:high] - first] = self.copies[low:high]
        return copies


def marks_path(context: Context, bucket: int) -> str:
    """Return the file of the marks that one bucket of keys gave."""
    return context.staging("marks", f"{bucket:05d}.parquet")


def gather_marks(context: Context, *, split_number: int, number: int, drops_leaks: bool) -> Result:
    """Step: collect the marks of one split from all buckets."""
    tables = []
    for bucket in range(number):
        table = context.storage.read_table(marks_path(context, bucket))
        tables.append(table.filter(pa.array(table["split_number"].to_numpy() == split_number)))
    marks = pa.concat_tables(tables).sort_by("place")
    if not drops_leaks:
        marks = marks.filter(pa.array(marks["copy"].to_numpy() > 0))
    write_staged(context.storage, _gathered_path(context, split_number), marks)
    return {"rows": marks.num_rows}


def _gathered_path(context: Context, split_number: int) -> str:
    return context.staging("marks_by_split", f"{split_number:05d}.parquet")


def read_marks(context: Context, split_number: int, *, drops_leaks: bool) -> Marks:
    """Return the marks of one split."""
    table = context.storage.read_table(_gathered_path(context, split_number))
    place, copy = table["place"].to_numpy(), table["copy"].to_numpy()
    is_leak = table["is_leak"].to_numpy(zero_copy_only=False).astype(bool)
    leaks = place[is_leak] if drops_leaks else place[:0]
    return Marks(place[copy > 0], copy[copy > 0], leaks)
