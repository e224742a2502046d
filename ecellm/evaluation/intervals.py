"""95 % percentile bootstrap intervals of metrics that are functions of sums over rows.

A resample draws as many rows as there are, with replacement; what matters of it is how often each row was drawn, so
that the sums of a resample are one matrix product, `counts @ statistics`. Rows with equal statistics are
interchangeable: they may be counted together, which changes no distribution. Source: Efron and Tibshirani, An
Introduction to the Bootstrap (1993), chapter 13.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ecellm.tasks.scorer import FloatArray

Counts = npt.NDArray[np.int64]
Metrics = Callable[[FloatArray], dict[str, FloatArray]]
_QUANTILES = (0.025, 0.975)
# How many rows are drawn one by one in the time that one kind of rows is counted in: 7 to 10 ns for a drawn row, 60 to
# 200 ns for a kind, measured with resamples of 250 to 20,000 rows.
_ROWS_PER_KIND = 12
_CHUNK = 65_536  # numbers of one chunk of counts: 512 kB, which stays in a core's cache


class Bootstrap(NamedTuple):
    """How intervals are drawn: `num_resamples` resamples (0 = no intervals), from `seed`."""

    num_resamples: int
    seed: int


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


class Measured(NamedTuple):
    """What metrics are computed from: statistics [num_rows, num_statistics], and the function of their sums."""

    statistics: FloatArray
    metrics: Metrics


def distinct_rows(statistics: FloatArray, counts: Counts | None = None) -> tuple[FloatArray, Counts]:
    """Return the distinct rows of a matrix, in an order of their own, and how often each occurs.

    Rows are compared as bytes, several times as fast as `np.unique(axis=0)`.

    Args:
        statistics: float64 [num_rows, num_statistics].
        counts: int64 [num_rows], how often each row is meant; None for once.
    """
    rows = np.ascontiguousarray(statistics + 0.0)  # turns -0.0 into 0.0
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, kind = np.unique(as_bytes, return_index=True, return_inverse=True)
    return rows[first], np.bincount(kind, weights=counts, minlength=len(first)).astype(np.int64)


def chunks(num_resamples: int, width: int) -> Iterator[slice]:
    """Cut resamples of `width` numbers each into pieces of bounded memory."""
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, num_resamples, step):
        yield slice(start, min(start + step, num_resamples))


def resampled_sums(statistics: FloatArray, bootstrap: Bootstrap, counts: Counts | None = None) -> FloatArray:
    """Return the sums of bootstrap resamples.

    The order of the rows has no influence. How often each row was drawn comes from multinomial counts of the kinds of
    rows where these are few (a yes-or-no task has six), else from drawing rows one by one.

    Args:
        statistics: float64 [num_rows, num_statistics], at least one of each.
        bootstrap: how many resamples, and their seed.
        counts: int64 [num_rows], how many samples each row stands for; None for one.

    Returns:
        float64 [num_resamples, num_statistics].
    """
    kinds, num_of_kind = distinct_rows(statistics, counts)
    are_counted = len(kinds) * _ROWS_PER_KIND < num_of_kind.sum()
    rows = kinds if are_counted else np.repeat(kinds, num_of_kind, axis=0)
    rng = np.random.default_rng(bootstrap.seed)
    sums = np.empty((bootstrap.num_resamples, statistics.shape[1]))
    for chunk in chunks(bootstrap.num_resamples, len(rows)):
        size = chunk.stop - chunk.start
        counts = _count_kinds(rng, num_of_kind, size) if are_counted else _count_drawn_rows(rng, len(rows), size)
        sums[chunk] = counts.astype(float) @ rows
    return sums


def _count_kinds(rng: np.random.Generator, num_of_kind: Counts, size: int) -> Counts:
    """Return how many rows of each kind are in each of `size` resamples: [size, num_kinds]."""
    num_rows = num_of_kind.sum()
    return rng.multinomial(num_rows, num_of_kind / num_rows, size=size)


def _count_drawn_rows(rng: np.random.Generator, num_rows: int, size: int) -> Counts:
    """Return how often each row is in each of `size` resamples: [size, num_rows]."""
    drawn = rng.integers(num_rows, size=(size, num_rows)) + num_rows * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * num_rows).reshape(size, num_rows)


def interval_of(values: FloatArray) -> Interval:
    """Return the interval between the 2.5 % and the 97.5 % quantile of a metric's resamples [num_resamples]."""
    low, high = np.quantile(values, _QUANTILES)
    return Interval(float(low), float(high))


def metric_intervals(
    measured: Sequence[Measured], bootstrap: Bootstrap, counts: Counts | None = None
) -> list[dict[str, Interval]]:
    """Return the 95 % interval of each metric, for several sets of metrics of the same rows (the flavours).

    All sets share the draws.

    Args:
        measured: statistics and metrics of each set; row `i` of every set is of the same sample.
        bootstrap: how many resamples, and their seed; with 0, or without rows, there are no intervals.
        counts: int64 [num_rows], how many samples each row stands for; None for one.
    """
    resampled = resampled_metrics(measured, bootstrap, counts)
    return [{name: interval_of(values) for name, values in metrics.items()} for metrics in resampled]


def resampled_metrics(
    measured: Sequence[Measured], bootstrap: Bootstrap, counts: Counts | None = None
) -> list[Mapping[str, FloatArray]]:
    """Return the metrics of every resample, [num_resamples] each, for each set; nothing where nothing is resampled."""
    joined = np.hstack([each.statistics for each in measured])
    if not bootstrap.num_resamples or not joined.size:
        return [{} for _ in measured]
    sums = resampled_sums(joined, bootstrap, counts)
    ends = np.cumsum([each.statistics.shape[1] for each in measured])
    parts = np.split(sums, ends[:-1], axis=1)
    return [each.metrics(part) if part.shape[1] else {} for each, part in zip(measured, parts, strict=True)]
