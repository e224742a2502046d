"""Rows of the comparisons table: one run against another by the headline metric, on the rows that both answered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecellm.evaluation.answered import Row
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.paired import Pair, PairedTest, holm, paired_tests
from ecellm.evaluation.scored_rows import ScoredRows
from ecellm.tasks import Task

Kinds = npt.NDArray[np.integer[Any]]


class Compared(NamedTuple):
    """One run's scored answers to one split.

    Attributes:
        task: the task of all rows.
        run_id: of the run.
        place: task, split and setting.
        rows: the answers, with the keys of their samples or examples; of equal keys the first counts.
    """

    task: Task
    run_id: str
    place: Mapping[str, str]
    rows: ScoredRows


def compare(run: Compared, baseline: Compared, bootstrap: Bootstrap) -> list[Row]:
    """Return the rows of one task, setting and split, one for each flavour; `p_adjusted` is left to `adjusted`.

    Flavours in which either run has no figure are left out.

    Args:
        run: the run.
        baseline: the run it is compared with, on the same task and split, and on the same setting unless the keys are
            those of examples.
        bootstrap: how many resamples, at least 1, and their seed.
    """
    task = run.task
    _, places, baseline_places = np.intersect1d(run.rows.keys, baseline.rows.keys, return_indices=True)
    if not len(places):
        return []
    sides = ((run.rows, places), (baseline.rows, baseline_places))
    are_there = [
        [task.headline_metric not in tally.unavailable() for tally in rows.tallies(own)] for rows, own in sides
    ]
    compared = [flavour for flavour, both in enumerate(zip(*are_there, strict=True)) if all(both)]
    if not compared:
        return []
    kinds, counts = _kinds_of_pairs(*(rows.kind[own] for rows, own in sides))
    statistics = [[own[kind] for own in rows.kinds()] for (rows, _), kind in zip(sides, kinds, strict=True)]
    scorers = task.scorers()
    pairs = [Pair(statistics[0][flavour], statistics[1][flavour], scorers[flavour].metrics) for flavour in compared]
    tests = paired_tests(pairs, task.headline_metric, bootstrap, counts)
    return [
        {"run_id": run.run_id, "baseline_run_id": baseline.run_id, **run.place, "flavour": scorers[flavour].flavour}
        | {"metric": task.headline_metric, **_figures(test), "num_samples": len(places)}
        for flavour, test in zip(compared, tests, strict=True)
    ]


def _kinds_of_pairs(kind: Kinds, baseline_kind: Kinds) -> tuple[tuple[Kinds, Kinds], npt.NDArray[np.int64]]:
    """Return the kinds that meet in a row, of either side, and in how many rows they do."""
    width = int(baseline_kind.max()) + 1
    codes, counts = np.unique(kind.astype(np.int64) * width + baseline_kind, return_counts=True)
    return (codes // width, codes % width), counts


def _figures(test: PairedTest) -> dict[str, float | None]:
    return {
        "value": test.value,
        "baseline_value": test.baseline_value,
        "difference": test.difference,
        "ci_low": test.interval.low,
        "ci_high": test.interval.high,
        "p_value": test.p_value,
        "p_adjusted": None,
    }


def adjusted(rows: Iterable[Mapping[str, object]]) -> list[Row]:
    """Return the table's rows, sorted, with p-values adjusted over all rows of one pair of runs in one flavour."""
    families: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        families.setdefault((row["run_id"], row["baseline_run_id"], row["flavour"]), []).append(dict(row))
    result: list[Row] = []
    for family in families.values():
        values: Sequence[float] = holm([row["p_value"] for row in family])
        result += [row | {"p_adjusted": value} for row, value in zip(family, values, strict=True)]
    keys = ("run_id", "baseline_run_id", "setting", "split", "task", "flavour")
    return sorted(result, key=lambda row: tuple(row[name] for name in keys))
