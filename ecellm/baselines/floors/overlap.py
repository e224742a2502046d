"""Overlap of words: for two listings of a product, and for a query and the titles that it is to rank."""

from collections.abc import Callable, Sequence
from string import ascii_uppercase

import numpy as np
import numpy.typing as npt

from ecellm.baselines.floors.words import words_of
from ecellm.baselines.sample_texts import Row, class_of, query_and_products, text_pair
from ecellm.tasks import Task
from ecellm.tasks.query_product_ranking import RankingTask


def jaccard(first: str, second: str) -> float:
    """Return the words that both texts have over the words that either has; 0 for two empty texts."""
    one, other = {*words_of(first)}, {*words_of(second)}
    return len(one & other) / len(one | other) if one | other else 0.0


def train(task: Task, rows: Sequence[Row]) -> Callable[[Sequence[Row]], list[str]] | None:
    """Return what ranks, which learns nothing, or what says yes from a threshold on; None without a yes among the rows.

    The threshold on the Jaccard similarity is the one with the best F1 of yes on the training rows.
    """
    if isinstance(task, RankingTask):
        return lambda asked: [_ranking(row) for row in asked]
    labelled = [(row, found) for row in rows if (found := class_of(task, row)) is not None]
    is_yes = np.array([found == "yes" for _, found in labelled], bool)
    if not is_yes.any():
        return None
    threshold = best_threshold(np.array([_similarity(row) for row, _ in labelled]), is_yes)
    return lambda asked: ["yes" if _similarity(row) >= threshold else "no" for row in asked]


def best_threshold(values: npt.NDArray[np.float64], is_yes: npt.NDArray[np.bool_]) -> float:
    """Return the threshold from which on yes has the best F1; the highest of equals.

    Args:
        values: float64 [rows].
        is_yes: bool [rows], at least one.
    """
    order = np.argsort(-values, kind="stable")
    sorted_values = values[order]
    hits = np.cumsum(is_yes[order])
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + is_yes.sum())
    is_last_of_equals = np.append(sorted_values[1:] != sorted_values[:-1], True)
    return float(sorted_values[np.where(is_last_of_equals, f1, -1.0).argmax()])


def _similarity(row: Row) -> float:
    first, second = text_pair(row["input"])
    return jaccard(first, second or "")


def _ranking(row: Row) -> str:
    """Rank by the share of the query's words that a title has; of equals, the one listed first."""
    found = query_and_products(row["input"])
    if found is None:
        return ""
    query, products = {*words_of(found[0])}, found[1]
    shares = [len(query & {*words_of(product)}) for product in products]
    order = sorted(range(len(products)), key=lambda place: -shares[place])
    return ",".join(ascii_uppercase[place] for place in order if place < len(ascii_uppercase))
