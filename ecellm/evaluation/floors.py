"""Floors: answers that need no language model, scored by the very same scorers as a model's.

Trivial ones (always yes, a random choice) and classical ones (classical_floors.py). They answer the samples that any of
the runs was asked; the trivial ones that say the most frequent answer take it from the references of these samples. The
best one by the headline metric is what "the floor" means.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.joined import BLOCK_ROWS
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows
from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.scored_rows import ScoredRows
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.tasks import Sample, Task
from ecellm.tasks.scorer import Samples

ROLE = "floor"
PREFIX = "floor-"
Place = tuple[str, str, str]


def floor_responses(
    task: Task, samples: Samples, seed: int, classical: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Return what every floor answers to the samples, by name.

    Args:
        task: the task of all samples.
        samples: what is answered.
        seed: of random answers.
        classical: answers of the classical floors, in the samples' order.
    """
    return {**task.trivial_answers(samples, seed), **classical}


def floor_rows(
    task: Task,
    samples: Samples,
    classical: Mapping[str, Sequence[str]],
    answers: Answers,
    bootstrap: Bootstrap,
    *,
    similarity: SimilarityTable,
) -> list[MetricRow]:
    """Return the metrics of every floor of a task, in every flavour.

    Args:
        task: the task of all samples.
        samples: what is answered, at least one; they are read several times, and not kept.
        classical: answers of the classical floors, in the samples' order.
        answers: the samples' place; run, model, decoding and role are filled in here.
        bootstrap: how the intervals are drawn; random answers have the same seed.
        similarity: figures of free text.
    """
    responses = floor_responses(task, samples, bootstrap.seed, classical)
    scored = {name: ScoredRows() for name in responses}
    start = 0
    for block in blocks_of(samples):
        for name, own in responses.items():
            figures = similarity.of_answers(f"{PREFIX}{name}", block)
            scored[name].add(score_answers(task, block, own[start : start + len(block)], figures), {})
        start += len(block)
    rows = []
    for name, own_rows in scored.items():
        floor = replace(answers, run_id=f"{PREFIX}{name}", model=name, decoding=None, role=ROLE)
        rows += metric_rows(task, own_rows.tallies(), floor, bootstrap)
    return rows


def blocks_of(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in lists of at most `BLOCK_ROWS`."""
    rows = iter(samples)
    while block := list(islice(rows, BLOCK_ROWS)):
        yield block


def place_of(row: MetricRow) -> Place:
    """Return what a row of the metrics table is about: (task, setting, split)."""
    return row["task"], row["setting"], row["split"]


def of_flavour(rows: Iterable[MetricRow], flavour: str) -> list[MetricRow]:
    """Return the rows of one flavour that are about all rows of their place, not about a slice."""
    return [row for row in rows if row["flavour"] == flavour and row["slice_name"] is None]


def best_floors(rows: Iterable[MetricRow]) -> dict[Place, MetricRow]:
    """Return the headline row of the best floor of each place; of equals, the first by name.

    Args:
        rows: of the metrics table, of one flavour (`of_flavour`).
    """
    best: dict[Place, MetricRow] = {}
    floors = [row for row in rows if row["role"] == ROLE and row["is_headline"] and row["value"] is not None]
    for row in sorted(floors, key=lambda row: (-row["value"], row["run_id"])):
        best.setdefault(place_of(row), row)
    return best
