"""The bootstrap against a naive one, its coverage, and its speed."""

import time

import numpy as np
import pytest

from ecellm.evaluation.intervals import Bootstrap, metric_intervals, paired_difference, resampled_sums
from ecellm.tasks import task_named

BINARY = task_named("PM")


def statistics_of(seed, num_rows, shares=(0.3, 0.1, 0.2, 0.4)):
    return np.eye(4)[np.random.default_rng(seed).choice(4, num_rows, p=shares)]


def test_intervals_agree_with_a_naive_loop():
    statistics = statistics_of(0, 200)
    rng = np.random.default_rng(9)
    naive = [float(BINARY.metrics(statistics[rng.integers(0, 200, 200)].sum(0))["f1"]) for _ in range(4000)]
    interval = metric_intervals(statistics, BINARY.metrics, Bootstrap(4000, 1))["f1"]
    # Two independent estimates of a quantile; the standard error of each is about 0.002 here.
    assert tuple(interval) == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.01)


def test_sums_of_distinct_rows_keep_mean_and_variance():
    statistics = np.random.default_rng(3).random((60, 2))
    sums = resampled_sums(statistics, Bootstrap(20_000, 1))
    assert sums.shape == (20_000, 2)
    np.testing.assert_allclose(sums.mean(0), statistics.sum(0), rtol=0.005)
    np.testing.assert_allclose(sums.var(0), 60 * statistics.var(0), rtol=0.05)


def test_the_order_of_rows_has_no_influence_and_the_seed_has():
    statistics = statistics_of(1, 50)
    first = resampled_sums(statistics, Bootstrap(100, 5))
    np.testing.assert_array_equal(first, resampled_sums(statistics[::-1], Bootstrap(100, 5)))
    assert not np.array_equal(first, resampled_sums(statistics, Bootstrap(100, 6)))


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    true = float(BINARY.metrics(np.array([0.3, 0.1, 0.2, 0.4]))["acc"])
    covered = 0
    for seed in range(200):
        low, high = metric_intervals(statistics_of(seed, 300), BINARY.metrics, Bootstrap(400, 0))["acc"]
        covered += low <= true <= high
    assert 0.89 <= covered / 200 <= 0.99  # 0.95 within some four standard errors


def test_no_resamples_or_nothing_to_sum_give_no_intervals():
    assert metric_intervals(statistics_of(0, 9), BINARY.metrics, Bootstrap(0, 1)) == {}
    assert metric_intervals(np.zeros((9, 0)), BINARY.metrics, Bootstrap(10, 1)) == {}


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    shared = rng.random(400) < 0.6  # rows that both get right
    baseline = np.stack([shared, np.ones(400)], axis=1).astype(float)
    run = np.stack([shared | (rng.random(400) < 0.1), np.ones(400)], axis=1).astype(float)
    metrics = task_named("SR").metrics
    difference, (low, high) = paired_difference(run, baseline, metrics, "recall@1", Bootstrap(2000, 1))
    assert difference == pytest.approx(run[:, 0].mean() - baseline[:, 0].mean())
    assert 0 < low < difference < high
    wide = metric_intervals(run, metrics, Bootstrap(2000, 1))["recall@1"]
    assert high - low < wide.high - wide.low
    assert paired_difference(run, run, metrics, "recall@1", Bootstrap(50, 1)) == (0.0, (0.0, 0.0))


def test_ten_thousand_resamples_of_a_thousand_distinct_rows_take_a_moment():
    statistics = np.random.default_rng(0).random((1000, 2))
    start = time.process_time()
    resampled_sums(statistics, Bootstrap(10_000, 1))
    assert time.process_time() - start < 3  # 0.4 s where nothing else runs
