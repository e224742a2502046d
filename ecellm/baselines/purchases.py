"""Samples of Sequential Recommendation as those who answer by purchases read them."""

from dataclasses import dataclass

from ecellm.baselines.sample_texts import Row, listed_texts
from ecellm.tasks.recommendation_scorers import LETTERS


@dataclass(frozen=True)
class MarkedPurchases:
    """A user's purchases and what was bought next.

    Attributes:
        history: texts of the items bought, oldest first.
        candidates: texts of the candidates.
        target: place of the next purchase among them.
    """

    history: tuple[str, ...]
    candidates: tuple[str, ...]
    target: int


def read_purchases(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return history and candidates; None if either cannot be read."""
    history, candidates = listed_texts(row["input"]), listed_texts(row["options"])
    return None if history is None or candidates is None else (history, candidates)


def marked_purchases(row: Row) -> MarkedPurchases | None:
    """Return history, candidates and target; None if any cannot be read."""
    read, reference = read_purchases(row), str(row["output"]).strip()[:1]
    if read is None or not reference or not 0 <= LETTERS.find(reference) < len(read[1]):
        return None
    return MarkedPurchases(*read, LETTERS.index(reference))
