"""Query Product Ranking: order two to four products by how well they fit a query."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from ecellm.tasks.example import Example
from ecellm.tasks.task import FloatArray, RowScore, Sample, Task, ratio
from ecellm.tasks.trivial_answers import random_orders

GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
NO_LABELS = "relevance labels are not in the samples (ingest with qpr_labels)"
_EPSILON = 1e-6


def candidate_letters(sample: Sample) -> tuple[str, ...]:
    """Return the letters of the candidates: one for each relevance label, else for each product of the input."""
    relevance = sample["relevance"]
    if relevance:
        return tuple(ascii_uppercase[: len(relevance)])
    try:
        fields = json.loads(sample["input"])
    except (ValueError, RecursionError):
        return ()
    products = fields.get("product list") if isinstance(fields, dict) else None
    return tuple(ascii_uppercase[: len(products)]) if isinstance(products, list) else ()


def discounted_gain(gains: Sequence[float]) -> float:
    """Return DCG = sum over ranks r = 1.. of (2^gain - 1) / log2(r + 1)."""
    return sum((2**gain - 1) / float(np.log2(rank + 1)) for rank, gain in enumerate(gains, 1))


@dataclass(frozen=True, kw_only=True)
class RankingTask(Task):
    """A task whose answer lists candidate letters, best first, joined by commas."""

    headline_metric: str = "ndcg"
    metric_names: tuple[str, ...] = ("ndcg",)
    max_answer_tokens: int = 24
    ranks_choices: bool = True

    def choices(self, sample: Sample) -> tuple[str, ...] | None:
        """Return the candidates' letters, which are put in order."""
        return candidate_letters(sample) or None

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Keep the candidates that the parts between commas begin with, and rate their order.

        Only a part's first character is looked up, so the second part of `A, B` (a space) is skipped and counted.
        NDCG = dcg / (idcg + 1e-6), where the ideal order is one of what was kept, not of all candidates.
        """
        candidates, relevance = candidate_letters(sample), sample["relevance"]
        parts = answer.split(",")
        kept = [part[0] for part in parts if part and part[0] in candidates]
        ndcg: float | None = None
        if relevance:
            label_of = dict(zip(candidates, relevance, strict=False))
            kept = [letter for letter in kept if label_of[letter] in GAINS]
            gains = [GAINS[label_of[letter]] for letter in kept]
            ndcg = discounted_gain(gains) / (discounted_gain(sorted(gains, reverse=True)) + _EPSILON)
        return RowScore(
            parsed=",".join(kept) if kept else None,
            is_valid=bool(kept),
            reference=sample["output"],
            components={"ndcg": ndcg},
            num_invalid=len(parts) - len(kept),
        )

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return NDCG and 1: all rows count, also those of which nothing was kept."""
        return np.array([[row.components["ndcg"] or 0.0, 1.0] for row in rows], float).reshape(-1, 2)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the mean NDCG."""
        total, num_rows = np.moveaxis(sums, -1, 0)
        return {"ndcg": ratio(total, num_rows)}

    def unavailable(self, rows: Sequence[RowScore]) -> dict[str, str]:
        """Return the reason why there is no NDCG if the label of any row is missing."""
        return {"ndcg": NO_LABELS} if any(row.components["ndcg"] is None for row in rows) else {}

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:
        """Return the candidates in random order, and in the order in which they are listed."""
        letters = [candidate_letters(sample) for sample in samples]
        return {"random-order": random_orders(letters, seed), "listed-order": [",".join(row) for row in letters]}


TASK = RankingTask(
    name="Query_Product_Ranking",
    short_name="QPR",
    description="Rank two to four products by relevance to a query (letters joined by commas)",
    aliases=("Query_Product_Rank",),
)


_MOST_CANDIDATES = 4


def label_sets(labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every set of two to four of a query's labels, in the order of `GAINS`."""
    present = [label for label in GAINS if label in labels]
    for count in range(2, _MOST_CANDIDATES + 1):
        yield from itertools.combinations(present, count)


def make_example(query: str, candidates: Sequence[tuple[str, str]], source_ids: tuple[str, ...]) -> Example:
    """Return the example of a query and candidates with distinct labels.

    Args:
        query: normalised query.
        candidates: (label, normalised title) in the order in which they are listed.
        source_ids: products in the same order, query, ...

    Returns:
        An example whose output are the letters by label, E first, joined by commas, with the labels beside it.
    """
    letters: Mapping[str, str] = {label: ascii_uppercase[place] for place, (label, _) in enumerate(candidates)}
    products = [f"{letter}: {title}" for letter, (_, title) in zip(ascii_uppercase, candidates, strict=False)]
    return Example(
        json.dumps({"query": query, "product list": products}),
        ",".join(letters[label] for label in GAINS if label in letters),
        relevance=tuple(label for label, _ in candidates),
        source_ids=source_ids,
    )
