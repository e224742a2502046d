"""Trivial baselines: answers that need no model, scored by the very same scorers as a model's.

They answer the samples that any of the runs was asked, and those that say the most frequent answer take it from the
references of these samples. The best one by the headline metric is what "the trivial baseline" means.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows
from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.tasks import Sample, Task

ROLE = "floor"
PREFIX = "floor-"
Place = tuple[str, str, str]


def floor_rows(
    task: Task, samples: Sequence[Sample], answers: Answers, bootstrap: Bootstrap, similarity: SimilarityTable
) -> list[MetricRow]:
    """Return the metrics of every trivial baseline of a task, in every flavour.

    Args:
        task: the task of all samples.
        samples: what is answered, at least one.
        answers: the samples' place; run, model, decoding and role are filled in here.
        bootstrap: how the intervals are drawn; random answers have the same seed.
        similarity: figures of free text.
    """
    rows = []
    for name, responses in task.trivial_answers(samples, bootstrap.seed).items():
        floor = replace(answers, run_id=f"{PREFIX}{name}", model=name, decoding=None, role=ROLE)
        scored = score_answers(task, samples, responses, similarity.of_answers(floor.run_id, samples))
        rows += metric_rows(task, scored, floor, bootstrap)
    return rows


def place_of(row: MetricRow) -> Place:
    """Return what a row of the metrics table is about: (task, setting, split)."""
    return row["task"], row["setting"], row["split"]


def of_flavour(rows: Iterable[MetricRow], flavour: str) -> list[MetricRow]:
    """Return the rows of one flavour that are about all rows of their place, not about a slice."""
    return [row for row in rows if row["flavour"] == flavour and row["slice_name"] is None]


def best_floors(rows: Iterable[MetricRow]) -> dict[Place, MetricRow]:
    """Return the headline row of the best trivial baseline of each place; of equals, the first by name.

    Args:
        rows: of the metrics table, of one flavour (`of_flavour`).
    """
    best: dict[Place, MetricRow] = {}
    floors = [row for row in rows if row["role"] == ROLE and row["is_headline"] and row["value"] is not None]
    for row in sorted(floors, key=lambda row: (-row["value"], row["run_id"])):
        best.setdefault(place_of(row), row)
    return best
