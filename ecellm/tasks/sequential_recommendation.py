"""Sequential Recommendation: which of twenty products does a user buy next, given what was bought before?"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecellm.tasks.task import FloatArray, RowScore, Sample, Task, ratio
from ecellm.tasks.trivial_answers import random_choices

LETTERS = "ABCDEFGHIJKLMNOPQRST"
_MAX_OPTIONS_CHARACTERS = 200_000  # twenty items of 25 words are some 5,000; the parser's time and memory are bounded


def candidate_letters(options: str | None) -> tuple[str, ...] | None:
    """Return the letters of the candidates from the release's Python list repr; None if `options` is not that."""
    if not options or len(options) > _MAX_OPTIONS_CHARACTERS:
        return None
    try:
        texts = ast.literal_eval(options)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        return None
    return tuple(text[0] for text in texts)


@dataclass(frozen=True, kw_only=True)
class RecommendationTask(Task):
    """A task whose answer is exactly one letter, A to T."""

    headline_metric: str = "recall@1"
    metric_names: tuple[str, ...] = ("recall@1",)
    max_answer_tokens: int = 16

    def choices(self, sample: Sample) -> tuple[str, ...] | None:
        """Return the candidates' letters."""
        return candidate_letters(sample["options"])

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Accept one letter A to T and nothing else; every other answer is left out."""
        reference = sample["output"].strip()
        if len(answer) != 1 or answer not in LETTERS:
            return RowScore(None, is_valid=False, reference=reference, components={"correct": None}, num_invalid=1)
        components = {"correct": float(answer == reference)}
        return RowScore(answer, is_valid=True, reference=reference, components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hit and counted: (1, 1), (0, 1), or (0, 0) if invalid."""
        return np.array([[row.components["correct"] or 0.0, row.is_valid] for row in rows], float).reshape(-1, 2)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return recall@1 (the paper's HR@1): hits / rows with a valid answer."""
        hits, counted = np.moveaxis(sums, -1, 0)
        return {"recall@1": ratio(hits, counted)}

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:
        """Return any candidate at random, and always the first."""
        letters = [self.choices(sample) or tuple(LETTERS) for sample in samples]
        return {"random-choice": random_choices(letters, seed), "always-A": ["A"] * len(samples)}


TASK = RecommendationTask(
    name="Sequential_Recommendation",
    short_name="SR",
    description="Which of twenty products does a user buy next? (A to T)",
)
