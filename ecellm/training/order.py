"""The order of training samples: which windows of rows an epoch reads, and in which order. Plain Python and NumPy.

The sequence of global batches is a function of (seed, epoch, step) and of the row groups alone: the same for any
number of workers and any micro-batch size. An epoch reads the row groups in a seeded permutation; rows are shuffled
within windows of at least `SHUFFLE_WINDOW_ROWS` rows. Files are read front to back, and a window is all that is ever
in memory:

    row groups   3 0 2 | 5 1 4 | ...        permuted by (seed, epoch)
    windows      [     ] [     ]            rows shuffled inside
    batches      |---|---|---|---|          consecutive rows; the last batch of an epoch may be short
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A window of 2,048-token rows of this size takes 128 MiB; ECInstruct's training rows are six windows.
SHUFFLE_WINDOW_ROWS = 16_384


@dataclass(frozen=True)
class RowGroup:
    """One row group of a split's Parquet files.

    Attributes:
        file: file name within the split's directory.
        row_group: its number in the file.
        first_position: position of its first row in the split.
        num_rows: how many rows it has.
    """

    file: str
    row_group: int
    first_position: int
    num_rows: int


@dataclass(frozen=True)
class Window:
    """Row groups that are in memory together, and the order in which their rows are used.

    Attributes:
        groups: the row groups, in reading order.
        positions: positions of all their rows, shuffled.
    """

    groups: tuple[RowGroup, ...]
    positions: npt.NDArray[np.int64]


def num_batches(num_rows: int, global_batch_size: int) -> int:
    """Return the optimizer steps of one epoch."""
    return math.ceil(num_rows / global_batch_size)


def epoch_windows(
    index: Sequence[RowGroup], *, seed: int, epoch: int, window_rows: int = SHUFFLE_WINDOW_ROWS
) -> Iterator[Window]:
    """Yield an epoch's windows in order.

    Args:
        index: the split's row groups in file order.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        window_rows: fewest rows of a window (but for the last).
    """
    rng = np.random.default_rng([seed, epoch])
    groups: list[RowGroup] = []
    order = rng.permutation(len(index))
    for place, number in enumerate(order):
        groups.append(index[number])
        if sum(group.num_rows for group in groups) >= window_rows or place == len(order) - 1:
            positions = np.concatenate(
                [np.arange(group.first_position, group.first_position + group.num_rows) for group in groups]
            )
            yield Window(tuple(groups), rng.permutation(positions).astype(np.int64))
            groups = []


def sequential_windows(index: Sequence[RowGroup], *, window_rows: int = SHUFFLE_WINDOW_ROWS) -> Iterator[Window]:
    """Yield windows in file order, unshuffled: for validation."""
    groups: list[RowGroup] = []
    for group in index:
        groups.append(group)
        if sum(item.num_rows for item in groups) >= window_rows or group is index[-1]:
            first, last = groups[0], groups[-1]
            yield Window(tuple(groups), np.arange(first.first_position, last.first_position + last.num_rows))
            groups = []
