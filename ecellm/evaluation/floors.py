"""Trivial baselines: answers that need no model, scored by the very same scorer as a model's.

They answer the samples that the first run answered, and those that say the most frequent answer take it from the
references of these samples. The best one by the headline metric is what "the trivial baseline" means.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows
from ecellm.tasks import Sample, Task

ROLE = "floor"
PREFIX = "floor-"
Place = tuple[str, str, str]


def floor_rows(task: Task, samples: Sequence[Sample], answers: Answers, bootstrap: Bootstrap) -> list[MetricRow]:
    """Return the metrics of every trivial baseline of a task; none for a task of free text.

    Args:
        task: the task of all samples.
        samples: what is answered, at least one.
        answers: the samples' place; run, model, decoding and role are filled in here.
        bootstrap: how the intervals are drawn; random answers have the same seed.
    """
    rows = []
    for name, responses in task.trivial_answers(samples, bootstrap.seed).items():
        scores = [task.score(sample, response) for sample, response in zip(samples, responses, strict=True)]
        floor = replace(answers, run_id=f"{PREFIX}{name}", model=name, decoding=None, role=ROLE)
        rows += metric_rows(task, scores, floor, bootstrap)
    return rows


def place_of(row: MetricRow) -> Place:
    """Return what a row of the metrics table is about: (task, setting, split)."""
    return row["task"], row["setting"], row["split"]


def best_floors(rows: Iterable[MetricRow]) -> dict[Place, MetricRow]:
    """Return the headline row of the best trivial baseline of each place; of equals, the first by name."""
    best: dict[Place, MetricRow] = {}
    floors = [row for row in rows if row["role"] == ROLE and row["is_headline"] and row["value"] is not None]
    for row in sorted(floors, key=lambda row: (-row["value"], row["run_id"])):
        best.setdefault(place_of(row), row)
    return best
