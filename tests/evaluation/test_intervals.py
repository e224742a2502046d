"""The bootstrap against a naive one, its coverage, and its moments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecellm.evaluation.intervals import Bootstrap, Measured, distinct_rows, metric_intervals, resampled_sums
from ecellm.tasks import task_named

BINARY = task_named("PM").scorer()


def statistics_of(seed, num_rows, shares=(0.3, 0.1, 0.2, 0.4)):
    return np.eye(4)[np.random.default_rng(seed).choice(4, num_rows, p=shares)]


def intervals_of(statistics, scorer, bootstrap):
    (intervals,) = metric_intervals([Measured(statistics, scorer.metrics)], bootstrap)
    return intervals


@pytest.mark.parametrize("num_rows", [40, 400])  # drawn row by row, and counted by kind
def test_intervals_agree_with_a_naive_loop(num_rows):
    statistics = statistics_of(0, num_rows)
    rng = np.random.default_rng(9)
    draws = (statistics[rng.integers(0, num_rows, num_rows)].sum(0) for _ in range(4000))
    naive = [float(BINARY.metrics(sums)["f1"]) for sums in draws]
    interval = intervals_of(statistics, BINARY, Bootstrap(4000, 1))["f1"]
    # Two independent estimates of a quantile; the standard error of each is about 0.005 with the fewer rows.
    assert tuple(interval) == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.03)


@pytest.mark.parametrize("num_kinds", [60, 2])  # drawn row by row, and counted by kind
def test_sums_keep_mean_and_variance(num_kinds):
    rng = np.random.default_rng(3)
    statistics = rng.random((num_kinds, 2))[rng.permutation(np.arange(120) % num_kinds)]
    sums = resampled_sums(statistics, Bootstrap(20_000, 1))
    assert sums.shape == (20_000, 2)
    np.testing.assert_allclose(sums.mean(0), statistics.sum(0), rtol=0.005)
    np.testing.assert_allclose(sums.var(0), 120 * statistics.var(0), rtol=0.05)
    np.testing.assert_allclose(np.cov(sums.T)[0, 1], 120 * np.cov(statistics.T, ddof=0)[0, 1], rtol=0.1, atol=0.05)


def test_the_order_of_rows_has_no_influence_and_the_seed_has():
    for num_rows in (50, 500):
        statistics = statistics_of(1, num_rows)
        first = resampled_sums(statistics, Bootstrap(100, 5))
        np.testing.assert_array_equal(first, resampled_sums(statistics[::-1], Bootstrap(100, 5)))
        assert not np.array_equal(first, resampled_sums(statistics, Bootstrap(100, 6)))


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    true = float(BINARY.metrics(np.array([0.3, 0.1, 0.2, 0.4]))["acc"])
    covered = 0
    for seed in range(200):
        low, high = intervals_of(statistics_of(seed, 300), BINARY, Bootstrap(400, 0))["acc"]
        covered += low <= true <= high
    assert 0.89 <= covered / 200 <= 0.99  # 0.95 within some four standard errors


def test_flavours_share_the_draws():
    one = statistics_of(4, 90)
    other = np.hstack([one, np.zeros((90, 1))]).repeat(2, axis=1)
    first, second = metric_intervals(
        [Measured(one, BINARY.metrics), Measured(other, lambda sums: BINARY.metrics(sums[..., :8:2]))], Bootstrap(50, 1)
    )
    assert first == second


def test_more_rows_than_a_chunk_holds_are_drawn_one_resample_at_a_time():
    statistics = np.random.default_rng(0).random((70_000, 1))
    sums = resampled_sums(statistics, Bootstrap(3, 1))
    np.testing.assert_allclose(sums, 35_000, rtol=0.02)
    assert len(np.unique(sums)) == 3


def test_no_resamples_or_nothing_to_sum_give_no_intervals():
    assert intervals_of(statistics_of(0, 9), BINARY, Bootstrap(0, 1)) == {}
    assert intervals_of(np.zeros((9, 0)), BINARY, Bootstrap(10, 1)) == {}
    assert (
        metric_intervals(
            [Measured(np.zeros((9, 0)), lambda _: {}), Measured(np.ones((9, 4)), BINARY.metrics)], Bootstrap(10, 1)
        )[0]
        == {}
    )


@settings(max_examples=50)
@given(arrays(float, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.sampled_from([-0.0, 0.0, 0.5, 1.0])))
def test_distinct_rows_are_those_of_numpy(statistics):
    rows, counts = distinct_rows(statistics)
    found = sorted(zip(map(tuple, rows), counts.tolist(), strict=True))
    expected = np.unique(statistics, axis=0, return_counts=True)
    assert found == sorted(zip(map(tuple, expected[0]), expected[1].tolist(), strict=True))


@settings(max_examples=30)
@given(
    arrays(float, st.tuples(st.integers(1, 200), st.just(2)), elements=st.floats(0, 1, width=32)),
    st.integers(1, 40),
)
def test_every_resample_is_a_sum_of_as_many_rows(statistics, num_resamples):
    counted = np.hstack([statistics, np.ones((len(statistics), 1))])
    sums = resampled_sums(counted, Bootstrap(num_resamples, 1))
    np.testing.assert_allclose(sums[:, -1], len(statistics))
    low, high = statistics.min(0) * len(statistics), statistics.max(0) * len(statistics)
    assert np.all((sums[:, :-1] >= low - 1e-9) & (sums[:, :-1] <= high + 1e-9))
