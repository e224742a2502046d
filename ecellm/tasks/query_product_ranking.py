"""Query Product Ranking: order two to four products by how well they fit a query."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from ecellm.tasks.example import Example
from ecellm.tasks.ranking_scorers import GAINS, ReleasedRankingScorer, StrictRankingScorer, candidate_letters
from ecellm.tasks.scorer import Sample, Samples, Scorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import random_orders


@dataclass(frozen=True, kw_only=True)
class RankingTask(Task):
    """A task whose answer lists candidate letters, best first, joined by commas."""

    headline_metric: str = "ndcg"
    max_answer_tokens: int = 24
    ranks_choices: bool = True

    def choices(self, sample: Sample) -> tuple[str, ...] | None:
        """Return the candidates' letters, which are put in order."""
        return candidate_letters(sample) or None

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of rankings."""
        return ReleasedRankingScorer(), StrictRankingScorer()

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:
        """Return the candidates in random order, and in the order in which they are listed."""
        return {
            "random-order": random_orders(map(candidate_letters, samples), seed),
            "listed-order": [",".join(candidate_letters(sample)) for sample in samples],
        }


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
