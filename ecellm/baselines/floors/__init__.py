"""Classical floors: what needs seconds of a processor and no language model, and still has to be beaten.

Each learns from at most 20,000 training rows of its task in `IND_Diverse_Instruction`, and answers as models do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecellm.baselines.floors import linear, next_item, overlap, snippets
from ecellm.baselines.sample_texts import Row
from ecellm.tasks import Task

Answerer = Callable[[Sequence[Row]], list[str]]


@dataclass(frozen=True)
class Floor:
    """A classical baseline.

    Attributes:
        name: what reports call it.
        tasks: short names of the tasks that it answers.
        train: learns from rows of one task and returns what answers others; None if they do not suffice.
    """

    name: str
    tasks: frozenset[str]
    train: Callable[[Task, Sequence[Row]], Answerer | None]


FLOORS = (
    Floor("tfidf-logreg", frozenset({"PRP", "PM", "SA", "MPC", "PSI", "AP"}), linear.train),
    Floor("token-overlap", frozenset({"PM", "QPR"}), overlap.train),
    Floor("popularity", frozenset({"SR"}), next_item.train_popularity),
    Floor("co-occurrence", frozenset({"SR"}), next_item.train_co_occurrence),
    Floor("first-sentence", frozenset({"AG"}), snippets.train),
)


def floors_of(task: Task) -> list[Floor]:
    """Return the floors that answer a task."""
    return [floor for floor in FLOORS if task.short_name in floor.tasks]
