"""Which examples become samples, and in which order: by arithmetic on the counts of ranked buckets.

    ranked sets ──► for each (task, domain, split): pieces, in order ──► parts of a bounded size

A piece is what one bucket gives to a split: rows of one or several files (the categories of a pooled sample), merged
by rank, of which the first are taken. A part is a run of rows over one or more pieces: the unit of later work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from ecellm.dataset.builders.ranked import ORDER, RankedSet
from ecellm.dataset.shares import Size, equal_parts, limited, ranges_of_shares
from ecellm.settings import SPLITS
from ecellm.storage import Storage

# [[[file, first row, end row], ...], rows to skip of the merge, rows to take]: JSON-able, as shards are.
Piece = list[Any]
_PART_BYTES = 64 << 20
_COST_OF_A_ROW = 2000  # what a row takes besides its text, in bytes of text
_LEAST_PART_ROWS, _MOST_PART_ROWS = 1024, 50_000


class SplitKey(NamedTuple):
    """One split of a task in one domain."""

    task: str
    domain: str
    split: str


@dataclass(frozen=True)
class Selected:
    """The examples of one split, in order.

    Attributes:
        source: the raw source.
        pieces: where they are.
        num_rows: how many they are.
        num_bytes: about how much text.
    """

    source: str
    pieces: tuple[Piece, ...]
    num_rows: int
    num_bytes: int

    def parts(self) -> list[dict[str, Any]]:
        """Cut into parts of about 64 MiB of text.

        Returns:
            `number`, `first` (place of its first row), `rows`, `pieces`, and `cost`, what to order parts by.
        """
        per_row = max(1, self.num_bytes // max(1, self.num_rows))
        size = min(_MOST_PART_ROWS, max(_LEAST_PART_ROWS, _PART_BYTES // per_row))
        return [
            {
                "number": number,
                "first": first,
                "rows": min(size, self.num_rows - first),
                "cost": min(size, self.num_rows - first) * (per_row + _COST_OF_A_ROW),
                "pieces": cut_pieces(self.pieces, first, min(size, self.num_rows - first)),
            }
            for number, first in enumerate(range(0, self.num_rows, size))
        ]


def select(
    sets: Sequence[RankedSet],
    sizes: Mapping[str, Mapping[str, Size]],
    equal_shares: Sequence[str],
    larger_share_first: Sequence[str],
) -> dict[SplitKey, Selected]:
    """Choose the examples of every split.

    Args:
        sets: what the flows built; the sets of a task and domain in the order of its categories.
        sizes: size of each split by task.
        equal_shares: tasks whose categories have equal shares, one after the other; others are pooled.
        larger_share_first: of these, tasks whose first categories get what does not divide.

    Returns:
        The examples of each (task, domain, split) that has any; out of domain there is a test split alone.
    """
    chosen: dict[SplitKey, Selected] = {}
    for task, domain in dict.fromkeys((own.task, own.domain) for own in sets):
        members = [own for own in sets if (own.task, own.domain) == (task, domain)]
        for split in SPLITS if domain == "IND" else ("test",):
            size = sizes[task][split]
            in_split = [own for own in members if split in dict(own.shares)]
            if task in equal_shares:
                shares = equal_parts(size, len(in_split), larger_first=task in larger_share_first)
                blocks = [_block([own], split, share) for own, share in zip(in_split, shares, strict=True)]
            else:
                blocks = [_block(in_split, split, size)]
            pieces = tuple(piece for block in blocks for piece in block)
            num_rows = sum(piece[-1] for piece in pieces)
            if num_rows:
                chosen[SplitKey(task, domain, split)] = Selected(
                    members[0].source, pieces, num_rows, _num_bytes(in_split, num_rows)
                )
    return chosen


def _num_bytes(sets: Sequence[RankedSet], num_rows: int) -> int:
    total = sum(own.num_rows for own in sets)
    return sum(num_bytes for own in sets for _, _, num_bytes in own.buckets) * num_rows // max(1, total)


def _block(sets: Sequence[RankedSet], split: str, size: Size) -> list[Piece]:
    """Return the pieces of the first `size` rows of a split over some sets, merged bucket by bucket."""
    assert len({len(own.buckets) for own in sets}) <= 1, "sets that are pooled have the same buckets"
    by_bucket: list[list[list[Any]]] = [[] for _ in (sets[0].buckets if sets else ())]
    for own in sets:
        first, end = ranges_of_shares(own.num_rows, own.shares)[split]
        start = 0
        for bucket, (file, rows, _) in enumerate(own.buckets):
            low, high = max(first - start, 0), min(end - start, rows)
            if low < high:
                by_bucket[bucket].append([file, low, high])
            start += rows
    pieces: list[Piece] = []
    taken = 0
    for sources in by_bucket:
        there = sum(high - low for _, low, high in sources)
        _, end = limited((taken, taken + there), size if isinstance(size, str) else max(0, size - taken))
        if end > taken:
            pieces.append([sources, 0, end - taken])
            taken = end
    return pieces


def cut_pieces(pieces: Sequence[Piece], first: int, count: int) -> list[Piece]:
    """Return the pieces of rows `first` to `first + count` of a sequence of pieces."""
    result: list[Piece] = []
    start = 0
    for sources, skip, take in pieces:
        low, high = max(first - start, 0), min(first + count - start, take)
        if low < high:
            result.append([sources, skip + low, high - low])
        start += take
    return result


def iter_rows(storage: Storage, pieces: Sequence[Piece], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of pieces in order, a table a piece.

    Args:
        storage: access to the files.
        pieces: as `select` or `cut_pieces` gives them.
        columns: of `RANKED`; default all.
    """
    for sources, skip, take in pieces:
        if len(sources) == 1:
            (file, first, _) = sources[0]
            yield read_slice(storage, file, first + skip, take, columns)
            continue
        order = [name for name, _ in ORDER]
        wanted = None if columns is None else list(dict.fromkeys([*columns, *order]))
        tables = [read_slice(storage, file, first, end - first, wanted) for file, first, end in sources]
        merged = pa.concat_tables(tables).sort_by(ORDER).slice(skip, take)
        yield merged if columns is None else merged.select(columns)


def read_slice(storage: Storage, file: str, first: int, count: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Return some rows of a Parquet file; only the row groups that hold them are read."""
    with storage.parquet_file(file) as parquet:
        groups, start, before = [], 0, 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            if end <= first:
                before = end
            elif start < first + count:
                groups.append(group)
            start = end
        table = parquet.read_row_groups(groups, columns=list(columns) if columns else None, use_threads=False)
        return table.slice(first - before, count)
