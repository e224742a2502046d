"""The next purchase by counting: the candidate that most users bought, or that was bought with the same things."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from ecellm.baselines.purchases import marked_purchases, read_purchases
from ecellm.baselines.sample_texts import Row
from ecellm.tasks import Task
from ecellm.tasks.recommendation_scorers import LETTERS

_Score = Callable[[str, Sequence[str]], tuple[float, ...]]


def purchases_of(row: Row) -> list[str] | None:
    """Return the item texts of a training row in order, the target last; None if the row cannot be read."""
    own = marked_purchases(row)
    return None if own is None else [*own.history, own.candidates[own.target]]


def train_popularity(task: Task, rows: Sequence[Row]) -> Callable[[Sequence[Row]], list[str]] | None:  # noqa: ARG001
    """Choose the candidate in most training rows' purchases."""
    counts = Counter(item for purchases in _all_purchases(rows) for item in set(purchases))
    return _chooser(lambda candidate, _history: (counts[candidate],)) if counts else None


def train_co_occurrence(task: Task, rows: Sequence[Row]) -> Callable[[Sequence[Row]], list[str]] | None:  # noqa: ARG001
    """Choose the candidate that was bought together with the user's items most often; of equals, the more popular.

    The score of a candidate is the sum, over the items of the user's history, of the training rows that have both.
    """
    rows_with: dict[str, set[int]] = defaultdict(set)
    for number, purchases in enumerate(_all_purchases(rows)):
        for item in purchases:
            rows_with[item].add(number)
    nothing: set[int] = set()

    def score(candidate: str, history: Sequence[str]) -> tuple[float, ...]:
        own = rows_with.get(candidate, nothing)
        together = sum(len(own & rows_with.get(item, nothing)) for item in set(history))
        return together, len(own)

    return _chooser(score) if rows_with else None


def _all_purchases(rows: Sequence[Row]) -> list[list[str]]:
    return [purchases for row in rows if (purchases := purchases_of(row)) is not None]


def _chooser(score: _Score) -> Callable[[Sequence[Row]], list[str]]:
    """Return what answers with the letter of the best candidate, the first of equals; nothing for unreadable rows."""

    def choose(row: Row) -> str:
        read = read_purchases(row)
        if read is None:
            return ""
        history, candidates = read
        scores = [score(candidate, history) for candidate in candidates[: len(LETTERS)]]
        return LETTERS[scores.index(max(scores))]

    return lambda asked: [choose(row) for row in asked]
