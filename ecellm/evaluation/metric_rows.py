"""From tallies of scored rows to rows of the metrics table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.evaluation.intervals import Bootstrap, Interval, metric_intervals
from ecellm.evaluation.tally import Tally
from ecellm.tasks import FLAVOURS, Task

MetricRow = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """Whose answers are measured, and to which samples.

    Attributes:
        run_id: of the predictions; of a floor, `floor-<name>`.
        model: model and adapter, or the baseline's name.
        decoding: how answers were drawn; None for baselines.
        role: ours, floor or published.
        task: canonical name, or a name of the user's own.
        split: train, val or test.
        setting: one of the eight settings.
        samples_fingerprint: of the samples directory.
    """

    run_id: str
    model: str
    decoding: str | None
    role: str
    task: str
    split: str
    setting: str
    samples_fingerprint: str


def metric_rows(task: Task, tallies: Sequence[Tally], answers: Answers, bootstrap: Bootstrap) -> list[MetricRow]:
    """Return one row for each metric of each flavour, in the order of the scorers' metrics.

    Args:
        task: the task of all rows.
        tallies: the answers, at least one, in each flavour.
        answers: whose they are.
        bootstrap: how the intervals are drawn; all flavours share the draws.
    """
    intervals = metric_intervals([each.measured for each in tallies], bootstrap, tallies[0].counts)
    rows: list[MetricRow] = []
    for each, own in zip(tallies, intervals, strict=True):
        rows += flavour_rows(task, each, own, answers)
    return rows


def flavour_rows(
    task: Task,
    tally: Tally,
    intervals: Mapping[str, Interval],
    answers: Answers,
    part: tuple[str, str] | None = None,
) -> list[MetricRow]:
    """Return one row for each metric of one flavour.

    Args:
        task: the task of all rows.
        tally: the answers, at least one.
        intervals: by metric; those that are missing are left null.
        answers: whose they are.
        part: slice_name and slice_value; None for all rows.
    """
    values = tally.scorer.metrics(tally.sums)
    reasons = tally.unavailable()
    rows = []
    for name in tally.scorer.metric_names:
        row = blank_row(answers, tally.scorer.flavour, name, num_samples=tally.num_rows, num_invalid=tally.num_invalid)
        row["slice_name"], row["slice_value"] = part or (None, None)
        row["is_headline"] = name == task.headline_metric and part is None
        row["reason"] = reasons.get(name)
        if name not in reasons:
            row["value"] = float(values[name])
            row["ci_low"], row["ci_high"] = intervals.get(name, (None, None))
        rows.append(row)
    return rows


def rows_without_scorer(answers: Answers, num_samples: int) -> list[MetricRow]:
    """Return what there is to say of a task that is none of the ten: it has answers, and nothing to rate them by."""
    rows = [blank_row(answers, flavour, "none", num_samples=num_samples, num_invalid=0) for flavour in FLAVOURS]
    return [row | {"is_headline": True, "reason": f"no scorer for task {answers.task!r}"} for row in rows]


def blank_row(answers: Answers, flavour: str, metric: str, *, num_samples: int, num_invalid: int) -> MetricRow:
    """Return a row about all samples without a figure."""
    return {
        **vars(answers),
        "slice_name": None,
        "slice_value": None,
        "flavour": flavour,
        "metric": metric,
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "num_samples": num_samples,
        "num_invalid": num_invalid,
        "is_headline": False,
        "reason": None,
    }
