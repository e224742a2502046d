"""Tasks answered by yes or no: product matching, substitute identification, answerability."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecellm.tasks.task import FloatArray, RowScore, Sample, Task, ratio
from ecellm.tasks.trivial_answers import most_frequent, random_choices

CHOICES = ("yes", "no")
METRIC_NAMES = ("acc", "recall", "precision", "f1", "specificity", "npr")
_OUTCOMES = {("yes", "yes"): 0, ("no", "yes"): 1, ("yes", "no"): 2, ("no", "no"): 3}  # (reference, answer)
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class BinaryTask(Task):
    """A task whose answer is yes or no; the metrics are those of the class yes."""

    headline_metric: str = "f1"
    metric_names: tuple[str, ...] = METRIC_NAMES
    max_answer_tokens: int = 16

    def choices(self, sample: Sample) -> tuple[str, ...]:  # noqa: ARG002  the same for all samples
        """Return yes and no."""
        return CHOICES

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Accept yes and no in any case; every other answer is left out of the figures."""
        reference = "yes" if sample["output"].strip().lower() == "yes" else "no"
        parsed = answer.lower().strip()
        if parsed not in CHOICES:
            return RowScore(None, is_valid=False, reference=reference, components={"correct": None}, num_invalid=1)
        components = {"correct": float(parsed == reference)}
        return RowScore(parsed, is_valid=True, reference=reference, components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return indicators of true positive, false positive, false negative, true negative; 0 if invalid."""
        result = np.zeros((len(rows), len(_OUTCOMES)))
        for number, row in enumerate(rows):
            if row.is_valid and row.parsed is not None:
                result[number, _OUTCOMES[row.reference, row.parsed]] = 1
        return result

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return accuracy and, for the class yes, recall, precision, F1, specificity and negative predictive value.

        The first four are scikit-learn's, 0 where it would divide by 0. Specificity = tn / (tn + fp + 1e-8) and npr =
        tn / (tn + fn + 1e-8) as the released scorer has them; where it stops because one class is left, these are the
        values that its formulas give.
        """
        tp, fp, fn, tn = np.moveaxis(sums, -1, 0)
        return {
            "acc": ratio(tp + tn, tp + fp + fn + tn),
            "recall": ratio(tp, tp + fn),
            "precision": ratio(tp, tp + fp),
            "f1": ratio(2 * tp, 2 * tp + fp + fn),
            "specificity": tn / (tn + fp + _EPSILON),
            "npr": tn / (tn + fn + _EPSILON),
        }

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:
        """Return always yes, always the more frequent answer, and the toss of a coin."""
        return {
            "always-yes": ["yes"] * len(samples),
            "majority": most_frequent([sample["output"] for sample in samples]),
            "random-choice": random_choices([CHOICES] * len(samples), seed),
        }
