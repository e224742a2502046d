"""Tasks answered by yes or no: product matching, substitute identification, answerability."""

from dataclasses import dataclass

from ecellm.tasks.binary_scorers import CHOICES, ReleasedBinaryScorer, StrictBinaryScorer
from ecellm.tasks.scorer import Sample, Samples, Scorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import most_frequent, random_choices


@dataclass(frozen=True, kw_only=True)
class BinaryTask(Task):
    """A task whose answer is yes or no; the metrics are those of the class yes."""

    headline_metric: str = "f1"
    max_answer_tokens: int = 16

    def choices(self, sample: Sample) -> tuple[str, ...]:  # noqa: ARG002  the same for all samples
        """Return yes and no."""
        return CHOICES

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of answers yes and no."""
        return ReleasedBinaryScorer(), StrictBinaryScorer()

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:
        """Return always yes, always the more frequent answer, and the toss of a coin."""
        return {
            "always-yes": ["yes"] * len(samples),
            "majority": most_frequent(sample["output"] for sample in samples),
            "random-choice": random_choices([CHOICES] * len(samples), seed),
        }
