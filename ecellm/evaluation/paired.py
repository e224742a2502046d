"""Two runs on the same rows: how much better is one, and could that be chance?

Interval: the paired bootstrap; each resample draws the same rows for both runs, so that what makes a row hard for both
cancels out. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.

p-value: approximate randomisation, also called the paired permutation test. If neither run is better, each row's two
answers might as well have come the other way round: every resample swaps the two runs' statistics of each row with
probability 1/2. Source: Noreen, Computer-Intensive Methods for Testing Hypotheses (1989), chapter 2; for measures that
are no means over rows: Yeh, More Accurate Tests for the Statistical Significance of Result Differences (COLING 2000).

Many tests: Holm, A Simple Sequentially Rejective Multiple Test Procedure (Scandinavian Journal of Statistics, 1979).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ecellm.evaluation.intervals import (
    Bootstrap,
    Counts,
    Interval,
    Measured,
    Metrics,
    chunks,
    distinct_rows,
    interval_of,
    resampled_metrics,
)
from ecellm.tasks.scorer import FloatArray

# As in `intervals`: 1 ns for a row's own coin, 100 ns for the number of swapped rows of a kind.
_ROWS_PER_KIND = 100
# Differences are compared with this tolerance: equal ones can differ in the last digits, by the order of the addition.
_TOLERANCE = 1e-9


class Pair(NamedTuple):
    """The statistics of two runs, [num_rows, num_statistics] each, row by row of the same samples, and the metrics."""

    run: FloatArray
    baseline: FloatArray
    metrics: Metrics


class PairedTest(NamedTuple):
    """What comes of comparing two runs.

    Attributes:
        value: the run's metric.
        baseline_value: the other run's.
        difference: run minus baseline.
        interval: 95 % paired bootstrap interval of the difference.
        p_value: two-sided, of the paired permutation test.
    """

    value: float
    baseline_value: float
    difference: float
    interval: Interval
    p_value: float


def paired_tests(
    pairs: Sequence[Pair], metric: str, bootstrap: Bootstrap, counts: Counts | None = None
) -> list[PairedTest]:
    """Compare two runs by one metric, in several flavours, which share the draws.

    p = (1 + resamples whose difference is at least as large as the observed one, either way) / (1 + resamples).

    Args:
        pairs: statistics of both runs in each flavour; row `i` of every matrix is of the same sample.
        metric: which of the metrics.
        bootstrap: how many resamples, at least 1, of either kind, and their seed.
        counts: int64 [num_rows], how many samples each row stands for; None for one.
    """
    for pair in pairs:
        assert pair.run.shape == pair.baseline.shape, "a paired comparison needs the same rows on both sides"
    counts = np.ones(len(pairs[0].run), np.int64) if counts is None else counts
    measured = [Measured(side, pair.metrics) for pair in pairs for side in (pair.run, pair.baseline)]
    resampled = [values[metric] for values in resampled_metrics(measured, bootstrap, counts)]
    swapped = np.split(
        swapped_sums(np.hstack([pair.baseline - pair.run for pair in pairs]), bootstrap, counts),
        np.cumsum([pair.run.shape[1] for pair in pairs])[:-1],
        axis=1,
    )
    tests = []
    for number, (pair, moved) in enumerate(zip(pairs, swapped, strict=True)):
        sums, baseline_sums = counts @ pair.run, counts @ pair.baseline
        value, baseline_value = (float(pair.metrics(side)[metric]) for side in (sums, baseline_sums))
        interval = interval_of(resampled[2 * number] - resampled[2 * number + 1])
        permuted = pair.metrics(sums + moved)[metric] - pair.metrics(baseline_sums - moved)[metric]
        num_as_large = np.count_nonzero(np.abs(permuted) >= abs(value - baseline_value) - _TOLERANCE)
        p_value = (1 + num_as_large) / (1 + bootstrap.num_resamples)
        tests.append(PairedTest(value, baseline_value, value - baseline_value, interval, float(p_value)))
    return tests


def swapped_sums(differences: FloatArray, bootstrap: Bootstrap, counts: Counts | None = None) -> FloatArray:
    """Return sums over rows that are each taken with probability 1/2: what a permutation moves from run to run.

    The order of the rows has no influence. Rows of zeros, where both runs have the same statistics, are left out.

    Args:
        differences: float64 [num_rows, num_statistics].
        bootstrap: how many resamples, and their seed.
        counts: int64 [num_rows], how many samples each row stands for; None for one.

    Returns:
        float64 [num_resamples, num_statistics].
    """
    differ = differences.any(axis=1)
    kinds, num_of_kind = distinct_rows(differences[differ], None if counts is None else counts[differ])
    are_counted = len(kinds) * _ROWS_PER_KIND < num_of_kind.sum()
    rows = kinds if are_counted else np.repeat(kinds, num_of_kind, axis=0)
    rng = np.random.default_rng([bootstrap.seed, 1])  # not the draws of the intervals
    sums = np.zeros((bootstrap.num_resamples, differences.shape[1]))
    for chunk in chunks(bootstrap.num_resamples, len(rows)) if len(rows) else ():
        size = chunk.stop - chunk.start
        taken = rng.binomial(num_of_kind, 0.5, size=(size, len(rows))) if are_counted else _coins(rng, size, len(rows))
        sums[chunk] = taken.astype(float) @ rows
    return sums


def _coins(rng: np.random.Generator, size: int, num_rows: int) -> npt.NDArray[np.int64]:
    """Return 0 or 1, each as likely, for every row of every resample: [size, num_rows]; eight come from one byte."""
    drawn = rng.integers(256, size=(size, -(-num_rows // 8)), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=num_rows).astype(np.int64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, so that those below 0.05 hold together with 95 %.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is smaller than the one before it, and none
    exceeds 1.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = min(1.0, max(highest, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
