"""Answer Generation: answer a question about a product from its reviews, in free text."""

from collections.abc import Sequence
from dataclasses import dataclass

from ecellm.tasks.answerability_prediction import question_input
from ecellm.tasks.example import Example
from ecellm.tasks.scorer import Samples, Scorer
from ecellm.tasks.similarity_scorers import ReleasedSimilarityScorer, StrictSimilarityScorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import of_others


@dataclass(frozen=True, kw_only=True)
class GenerationTask(Task):
    """A task whose answer is free text, compared with the reference by language models."""

    headline_metric: str = "bertscore_f1"
    is_one_line: bool = False

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of free text, to which the figures of language models are given."""
        return ReleasedSimilarityScorer(), StrictSimilarityScorer()

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:
        """Return the true answer to another question: how alike any two answers are; none for a single sample."""
        references = [sample["output"] for sample in samples]
        return {"another-answer": of_others(references, seed)} if len(references) > 1 else {}


TASK = GenerationTask(
    name="Answer_Generation",
    short_name="AG",
    description="Answer a question about a product from its reviews (free text)",
)


def most_helpful(answers: Sequence[tuple[str, int]]) -> str | None:
    """Return the answer with most helpful votes, the first of equals; None if no answer has a vote.

    Args:
        answers: (text, helpful votes) in the order of the raw file.
    """
    best = max(answers, key=lambda answer: answer[1], default=("", 0))
    return best[0] if best[1] > 0 else None


def make_example(question: str, snippets: Sequence[str], answer: str, source_ids: tuple[str, ...]) -> Example:
    """Return the example of a descriptive, answerable question and its most helpful answer."""
    return Example(question_input(question, snippets), answer, source_ids=source_ids)
