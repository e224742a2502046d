"""95 % percentile bootstrap intervals of metrics that are functions of sums over rows.

A resample draws as many rows as there are, with replacement; what matters of it is how often each row was drawn, so
that the sums of a resample are one matrix product, `counts @ statistics`. Rows with equal statistics are
interchangeable: they are counted together first, which changes no distribution and makes most tasks' matrices tiny
(a yes-or-no task has five kinds of rows). Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993),
chapter 13.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ecellm.tasks.task import FloatArray

Metrics = Callable[[FloatArray], dict[str, FloatArray]]
_QUANTILES = (0.025, 0.975)
_MAX_COUNTS = 1_000_000  # numbers of one chunk of counts: 16 MB with their copy as floats


class Bootstrap(NamedTuple):
    """How intervals are drawn: `num_resamples` resamples (0 = no intervals), from `seed`."""

    num_resamples: int
    seed: int


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


def resampled_sums(statistics: FloatArray, bootstrap: Bootstrap) -> FloatArray:
    """Return the sums of bootstrap resamples.

    The order of the rows has no influence.

    Args:
        statistics: float64 [num_rows, num_statistics], at least one row.
        bootstrap: how many resamples, and their seed.

    Returns:
        float64 [num_resamples, num_statistics].
    """
    num_rows = len(statistics)
    kinds, num_of_kind = np.unique(statistics, axis=0, return_counts=True)
    rng = np.random.default_rng(bootstrap.seed)
    chunk = max(1, _MAX_COUNTS // len(kinds))
    sums = np.empty((bootstrap.num_resamples, statistics.shape[1]))
    for start in range(0, bootstrap.num_resamples, chunk):
        stop = min(start + chunk, bootstrap.num_resamples)
        counts = rng.multinomial(num_rows, num_of_kind / num_rows, size=stop - start)
        sums[start:stop] = counts.astype(float) @ kinds
    return sums


def _interval(values: FloatArray) -> Interval:
    low, high = np.quantile(values, _QUANTILES)
    return Interval(float(low), float(high))


def metric_intervals(statistics: FloatArray, metrics: Metrics, bootstrap: Bootstrap) -> dict[str, Interval]:
    """Return the 95 % interval of each metric.

    Args:
        statistics: float64 [num_rows, num_statistics] of `Task.statistics`.
        metrics: `Task.metrics`.
        bootstrap: how many resamples, and their seed; with 0, or without rows, there are no intervals.
    """
    if not bootstrap.num_resamples or not statistics.size:
        return {}
    resampled = metrics(resampled_sums(statistics, bootstrap))
    return {name: _interval(values) for name, values in resampled.items()}


def paired_difference(
    run: FloatArray, baseline: FloatArray, metrics: Metrics, metric: str, bootstrap: Bootstrap
) -> tuple[float, Interval]:
    """Return the difference of a metric between two runs on the same rows, with its 95 % interval.

    Each resample draws the same rows for both, so that what makes a row hard for both cancels out.

    Args:
        run: statistics [num_rows, num_statistics] of one run.
        baseline: statistics of the other, row by row of the same samples.
        metrics: `Task.metrics`.
        metric: which of them.
        bootstrap: how many resamples, at least 1, and their seed.

    Returns:
        run minus baseline, and the interval of this difference.
    """
    assert run.shape == baseline.shape, "a paired comparison needs the same rows on both sides"
    both, width = np.hstack([run, baseline]), run.shape[1]

    def difference(sums: FloatArray) -> FloatArray:
        return metrics(sums[..., :width])[metric] - metrics(sums[..., width:])[metric]

    return float(difference(both.sum(0))), _interval(difference(resampled_sums(both, bootstrap)))
