"""From scored rows to rows of the metrics table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ecellm.evaluation.intervals import Bootstrap, metric_intervals
from ecellm.tasks import RELEASED, RowScore, Task

MetricRow = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """Whose answers are measured, and to which samples.

    Attributes:
        run_id: of the predictions; of a trivial baseline, `floor-<name>`.
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


def metric_rows(task: Task, scores: Sequence[RowScore], answers: Answers, bootstrap: Bootstrap) -> list[MetricRow]:
    """Return one row for each metric of the task, in the released scorer's order.

    Args:
        task: the task of all rows.
        scores: the scored answers, at least one.
        answers: whose they are.
        bootstrap: how the intervals are drawn.
    """
    statistics = task.statistics(scores)
    values = task.metrics(statistics.sum(axis=0))
    intervals = metric_intervals(statistics, task.metrics, bootstrap)
    reasons = task.unavailable(scores)
    num_invalid = sum(score.num_invalid for score in scores)
    rows = []
    for name in task.metric_names:
        interval = None if name in reasons else intervals.get(name)
        row = _metric_row(answers, name, num_samples=len(scores), num_invalid=num_invalid)
        row["is_headline"] = name == task.headline_metric
        row["value"] = None if name in reasons else float(values[name])
        row["ci_low"], row["ci_high"] = interval or (None, None)
        row["reason"] = reasons.get(name)
        rows.append(row)
    return rows


def row_without_scorer(answers: Answers, num_samples: int) -> MetricRow:
    """Return the one row of a task that is none of the ten: it has answers, and nothing that could rate them."""
    row = _metric_row(answers, "none", num_samples=num_samples, num_invalid=0)
    return row | {"is_headline": True, "reason": f"no scorer for task {answers.task!r}"}


def _metric_row(answers: Answers, metric: str, *, num_samples: int, num_invalid: int) -> MetricRow:
    return asdict(answers) | {
        "slice_name": None,
        "slice_value": None,
        "flavour": RELEASED,
        "metric": metric,
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "num_samples": num_samples,
        "num_invalid": num_invalid,
    }
