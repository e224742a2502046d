"""Rows of the comparisons table: one run against another by the headline metric, on the rows that both answered."""

from collections.abc import Iterable, Mapping, Sequence

from ecellm.evaluation.answered import Answered, Row
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.paired import Pair, PairedTest, holm, paired_tests
from ecellm.evaluation.scored import Scored, score_answers
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.tasks import Task, find_task


def compare(run: Answered, baseline: Answered, bootstrap: Bootstrap, similarity: SimilarityTable) -> list[Row]:
    """Return the rows of one (setting, task): one for each split and flavour; `p_adjusted` is left to `adjusted`.

    Args:
        run: the run.
        baseline: the run it is compared with.
        bootstrap: how many resamples, at least 1, and their seed.
        similarity: figures of free text.
    """
    place_of = {sample["sample_id"]: place for place, sample in enumerate(baseline.samples)}
    rows: list[Row] = []
    for part in run.by_split():
        task = find_task(part.samples[0]["task"])
        common = [place for place, sample in enumerate(part.samples) if sample["sample_id"] in place_of]
        if task is not None and common:
            ours = part.take(common)
            theirs = baseline.take([place_of[sample["sample_id"]] for sample in ours.samples])
            rows += _rows_of(task, ours, theirs, bootstrap, similarity)
    return rows


def _rows_of(
    task: Task, run: Answered, baseline: Answered, bootstrap: Bootstrap, similarity: SimilarityTable
) -> list[Row]:
    """Compare two runs on the same rows of one split; flavours in which either has no figure are left out."""
    sides = [
        score_answers(task, side.samples, side.responses, similarity.of_answers(side.run_id, side.samples))
        for side in (run, baseline)
    ]
    flavours = [
        (ours, theirs) for ours, theirs in zip(*sides, strict=True) if _is_there(task, ours) and _is_there(task, theirs)
    ]
    pairs = [Pair(ours.statistics, theirs.statistics, ours.scorer.metrics) for ours, theirs in flavours]
    tests = paired_tests(pairs, task.headline_metric, bootstrap) if pairs else []
    place = {name: run.samples[0][name] for name in ("task", "split", "setting")}
    return [
        {"run_id": run.run_id, "baseline_run_id": baseline.run_id, **place, "flavour": ours.flavour}
        | {"metric": task.headline_metric, **_figures(test), "num_samples": len(run.samples)}
        for (ours, _), test in zip(flavours, tests, strict=True)
    ]


def _is_there(task: Task, scored: Scored) -> bool:
    return task.headline_metric not in scored.unavailable()


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
