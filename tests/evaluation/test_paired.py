"""Paired tests: exact in small cases, fair where there is no difference, and able to find one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.evaluation.intervals import Bootstrap, Measured, metric_intervals
from ecellm.evaluation.paired import Pair, holm, paired_tests, swapped_sums
from ecellm.tasks import task_named

HITS = task_named("SR").scorer()
BINARY = task_named("PM").scorer("strict")


def hits(right):
    return np.stack([right, np.ones(len(right))], axis=1).astype(float)


def hit_test(run, baseline, num_resamples=2000, seed=1):
    (test,) = paired_tests([Pair(hits(run), hits(baseline), HITS.metrics)], "recall@1", Bootstrap(num_resamples, seed))
    return test


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    shared = rng.random(400) < 0.6  # rows that both get right
    run = shared | (rng.random(400) < 0.1)
    test = hit_test(run, shared)
    assert (test.value, test.baseline_value) == pytest.approx((run.mean(), shared.mean()))
    assert test.difference == pytest.approx(run.mean() - shared.mean())
    low, high = test.interval
    assert 0 < low < test.difference < high
    (wide,) = metric_intervals([Measured(hits(run), HITS.metrics)], Bootstrap(2000, 1))
    assert high - low < wide["recall@1"].high - wide["recall@1"].low
    # All rows that differ speak for the run: of all ways of swapping them, two are as extreme.
    assert test.p_value == pytest.approx(2 * 0.5 ** np.count_nonzero(run & ~shared), abs=0.006)


def test_equal_runs_differ_by_nothing():
    right = np.arange(30) % 2 == 0
    test = hit_test(right, right, 50)
    assert (test.difference, tuple(test.interval), test.p_value) == (0.0, (0.0, 0.0), 1.0)


def exact_p_value(run, baseline, metrics, metric):
    """Try all ways of swapping rows."""

    def difference(one, other):
        return float(metrics(one.sum(0))[metric] - metrics(other.sum(0))[metric])

    observed, found = abs(difference(run, baseline)), []
    for swaps in product([False, True], repeat=len(run)):
        mask = np.array(swaps)[:, None]
        found.append(abs(difference(np.where(mask, baseline, run), np.where(mask, run, baseline))))
    return np.mean(np.array(found) >= observed - 1e-9)


@pytest.mark.parametrize("metric", ["f1", "acc", "npr"])
def test_p_values_are_those_of_all_permutations(metric):
    rng = np.random.default_rng(5)
    references = rng.integers(0, 2, 10)
    kinds = np.eye(6)
    run, baseline = (kinds[references * 3 + rng.integers(0, 3, 10)] for _ in range(2))
    (test,) = paired_tests([Pair(run, baseline, BINARY.metrics)], metric, Bootstrap(40_000, 1))
    # The standard error of a share of 40,000 is 0.0025 at most.
    assert test.p_value == pytest.approx(exact_p_value(run, baseline, BINARY.metrics, metric), abs=0.01)


def test_p_values_are_uniform_where_there_is_no_difference():
    p_values = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        run, baseline = rng.normal(size=(2, 60)) + rng.normal(size=60)  # rows are easy or hard for both
        p_values.append(hit_test(run, baseline, 199, seed).p_value)
    # Shares of 400 below a level: within some four standard errors.
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=4 * (level * (1 - level) / 400) ** 0.5)


def test_ties_make_p_values_larger_never_smaller():
    p_values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p_values.append(hit_test(rng.random(80) < 0.5, rng.random(80) < 0.5, 199, seed).p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 4 * (0.05 * 0.95 / 300) ** 0.5


def test_a_real_difference_is_found():
    found = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        found += hit_test(rng.random(500) < 0.7, rng.random(500) < 0.55, 499, seed).p_value < 0.05
    assert found >= 48


def test_flavours_have_the_same_draws_and_their_own_figures():
    rng = np.random.default_rng(2)
    run, baseline = hits(rng.random(70) < 0.6), hits(rng.random(70) < 0.5)
    pair = Pair(run, baseline, HITS.metrics)
    first, second = paired_tests([pair, pair], "recall@1", Bootstrap(300, 1))
    assert first == second
    other = Pair(baseline, run, HITS.metrics)
    first, turned = paired_tests([pair, other], "recall@1", Bootstrap(300, 1))
    assert (turned.difference, turned.p_value) == (-first.difference, first.p_value)


@pytest.mark.parametrize("num_kinds", [80, 1])  # a coin for each row, and a count for each kind
def test_half_of_the_rows_are_swapped(num_kinds):
    rng = np.random.default_rng(7)
    differences = (rng.normal(size=(num_kinds, 2)) + 2)[np.arange(240) % num_kinds]
    sums = swapped_sums(np.vstack([differences, np.zeros((5, 2))]), Bootstrap(20_000, 1))
    np.testing.assert_allclose(sums.mean(0), differences.sum(0) / 2, rtol=0.01)
    np.testing.assert_allclose(sums.var(0), (differences**2).sum(0) / 4, rtol=0.05)
    shuffled = swapped_sums(rng.permutation(differences), Bootstrap(20_000, 1))
    np.testing.assert_array_equal(shuffled, sums)


def test_holm_as_in_the_paper():
    # Worked out by hand: 0.01 x 4, then 0.02 x 3 = 0.06, then 0.03 x 2 = 0.06, then 0.9 x 1.
    assert holm([0.03, 0.9, 0.01, 0.02]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_sequential_procedure_rejects(p_values, level):
    rejected = set()
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] * (len(p_values) - rank) > level:
            break
        rejected.add(place)
    assert {place for place, value in enumerate(holm(p_values)) if value <= level} == rejected
