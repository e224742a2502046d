"""How answers yes and no are scored; the metrics are those of the class yes."""

import re
from collections.abc import Sequence

import numpy as np

from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, choice_score, ratio

CHOICES = ("yes", "no")
METRIC_NAMES = ("acc", "recall", "precision", "f1", "specificity", "npr")
_EPSILON = 1e-8
# ASCII: without the flag, ignoring case would let the long s stand for an s.
_YES_OR_NO = re.compile(r"(yes|no)\.?", re.IGNORECASE | re.ASCII)


def reference_class(sample: Sample) -> str:
    """Return yes if the reference is yes, in any case; else no."""
    return "yes" if sample["output"].strip().lower() == "yes" else "no"


def indicators(rows: Sequence[RowScore], answers: Sequence[str | None]) -> FloatArray:
    """Return one indicator per (answer, reference): [num_rows, num_answers x 2], references yes and no.

    A row whose answer is not among `answers` has zeros alone.
    """
    result = np.zeros((len(rows), len(answers), len(CHOICES)))
    for number, row in enumerate(rows):
        if row.parsed in answers:
            result[number, answers.index(row.parsed), CHOICES.index(row.reference)] = 1
    return result.reshape(len(rows), len(answers) * len(CHOICES))


class ReleasedBinaryScorer(Scorer):
    """Leaves out every answer that is neither yes nor no.

    tp, fp, fn and tn count the rows that are left: true and false yes, false and true no.

        acc = (tp + tn) / (tp + fp + fn + tn)    recall = tp / (tp + fn)    precision = tp / (tp + fp)
        f1 = 2 tp / (2 tp + fp + fn)    specificity = tn / (tn + fp + 1e-8)    npr = tn / (tn + fn + 1e-8)

    Source: the released scorer. The first four are scikit-learn's (`accuracy_score` and so on, yes being positive), 0
    where it would divide by 0. Where the released scorer stops because one class is left, these are the values that
    its formulas give. npr is what is else called the negative predictive value.
    """

    flavour = RELEASED
    metric_names = METRIC_NAMES

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Accept yes and no in any case."""
        parsed = answer.lower().strip()
        return choice_score(parsed if parsed in CHOICES else None, reference_class(sample), if_unread=None)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return indicators of true positive, false positive, false negative, true negative; 0 if invalid."""
        return indicators(rows, CHOICES)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        tp, fp, fn, tn = np.moveaxis(sums, -1, 0)
        return {
            "acc": ratio(tp + tn, tp + fp + fn + tn),
            "recall": ratio(tp, tp + fn),
            "precision": ratio(tp, tp + fp),
            "f1": ratio(2 * tp, 2 * tp + fp + fn),
            "specificity": tn / (tn + fp + _EPSILON),
            "npr": tn / (tn + fn + _EPSILON),
        }


class StrictBinaryScorer(Scorer):
    """Counts every row; an answer that is neither yes nor no is wrong, and is a prediction of neither.

    An answer is read as yes or no in any case, with white space around it and one full stop behind it, and nothing
    else. With `tp` (`tn`) the rows with reference yes (no) that are answered so:

        acc = (tp + tn) / rows    recall = tp / rows with reference yes    precision = tp / rows answered yes
        f1 = 2 tp / (rows with reference yes + rows answered yes)
        specificity = tn / rows with reference no    npr = tn / rows answered no

    0 where a denominator is 0. Source: scikit-learn's `precision_recall_fscore_support` with an answer that cannot be
    read as a third class, `labels=["yes", "no"]` and `zero_division=0`: its figures of yes, and for specificity and npr
    its recall and precision of no.
    """

    flavour = STRICT
    metric_names = METRIC_NAMES

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Accept yes and no in any case, with or without a full stop."""
        match = _YES_OR_NO.fullmatch(answer)
        return choice_score(match[1].lower() if match else None, reference_class(sample), if_unread=0.0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return indicators: true and false positive, false and true negative, unreadable for yes and for no."""
        return indicators(rows, (*CHOICES, None))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        tp, fp, fn, tn, unread_yes, unread_no = np.moveaxis(sums, -1, 0)
        num_yes, num_no = tp + fn + unread_yes, fp + tn + unread_no
        return {
            "acc": ratio(tp + tn, num_yes + num_no),
            "recall": ratio(tp, num_yes),
            "precision": ratio(tp, tp + fp),
            "f1": ratio(2 * tp, num_yes + tp + fp),
            "specificity": ratio(tn, num_no),
            "npr": ratio(tn, tn + fn),
        }
