"""Answer Generation: answer a question about a product from its reviews, in free text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecellm.tasks.answerability_prediction import question_input
from ecellm.tasks.example import Example
from ecellm.tasks.task import FloatArray, RowScore, Sample, Task

NO_SCORER = "needs a language model scorer, which is not configured"
NOT_COMPUTED = "overlap of words is not computed for this flavour"


@dataclass(frozen=True, kw_only=True)
class GenerationTask(Task):
    """A task whose answer is free text, compared with the reference by language models.

    The released scorer takes BERTScore (English default model) and BLEURT-20-D12 of the first 300 words. Without these
    models every metric is given as null, with the reason.
    """

    headline_metric: str = "bertscore_f1"
    is_one_line: bool = False
    metric_names: tuple[str, ...] = ("bertscore_recall", "bertscore_precision", "bertscore_f1", "bleurt", "rouge_l")

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Keep the text; any answer is valid."""
        components = {"bertscore_f1": None}
        return RowScore(answer, is_valid=True, reference=sample["output"], components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return an empty matrix: there is nothing to sum up."""
        return np.zeros((len(rows), 0))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:  # noqa: ARG002  nothing to sum up
        """Return no metrics."""
        return {}

    def unavailable(self, rows: Sequence[RowScore]) -> dict[str, str]:  # noqa: ARG002  the same for all rows
        """Return all metrics, with the reason why they are null."""
        return {name: NOT_COMPUTED if name == "rouge_l" else NO_SCORER for name in self.metric_names}


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
