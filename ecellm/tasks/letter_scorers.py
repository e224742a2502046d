"""How answers that begin with the letter of an option are scored; the metrics are averages over the classes.

A reference is either the letter alone or the whole text of the option.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, choice_score, ratio

LETTERS = "ABCDE"
METRIC_NAMES = ("acc", "recall", "precision", "f1")


def leading_letter(text: str, letters: str) -> str | None:
    """Return the letter that a text consists of or begins with, if it is one of `letters`.

    It is in upper case, as the options have it, and no letter or digit follows it: `B`, `B: positive` and `B.` are B,
    `Because` and `b` are none. (The article in `A good product` cannot be told from an option A.)
    """
    letter, following = text[:1], text[1:2]
    return letter if letter and letter in letters and not following.isalnum() else None


def confusion_indicators(pairs: Sequence[tuple[str, str | None]], letters: str) -> FloatArray:
    """Return one indicator per (reference, answer): [num_rows, num_letters + 1, num_letters + 1].

    The last place on either side stands for whatever is none of the letters.
    """
    size = len(letters)
    place = {letter: number for number, letter in enumerate(letters)}
    result = np.zeros((len(pairs), size + 1, size + 1))
    for number, (reference, answer) in enumerate(pairs):
        result[number, place.get(reference, size), place.get(answer or "", size)] = 1
    return result


class ReleasedLetterScorer(Scorer):
    """Leaves out every answer that does not begin with A to E; only the first character of an answer counts.

    acc = hits / rows that are left. recall, precision and f1 are means over the classes that occur among references or
    answers (so that an answer D where the options end at C adds a class with all figures 0); of one class

        recall = hits / references    precision = hits / answers    f1 = 2 hits / (references + answers)

    0 where a class would divide by 0. Source: the released scorer, by scikit-learn's `accuracy_score` and
    `precision_recall_fscore_support(average="macro", zero_division=0)`. It stops at an empty answer; here that is one
    more answer that is left out.
    """

    flavour = RELEASED
    metric_names = METRIC_NAMES

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Take the first character if it is A to E."""
        letter = answer[:1]
        parsed = letter if letter and letter in LETTERS else None
        return choice_score(parsed, sample["output"][:1], if_unread=None)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return one indicator per (reference, answer): 6 x 5 flattened, all 0 if invalid."""
        confusion = confusion_indicators([(row.reference, row.parsed) for row in rows], LETTERS)
        return confusion[..., :-1].reshape(len(rows), (len(LETTERS) + 1) * len(LETTERS))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        confusion = sums.reshape(*sums.shape[:-1], len(LETTERS) + 1, len(LETTERS))
        hits = _with_other(np.diagonal(confusion, axis1=-2, axis2=-1))
        num_references, num_answers = confusion.sum(-1), _with_other(confusion.sum(-2))
        num_classes = np.count_nonzero(num_references + num_answers, axis=-1).astype(float)
        return {
            "acc": ratio(hits.sum(-1), num_references.sum(-1)),
            "recall": ratio(ratio(hits, num_references).sum(-1), num_classes),
            "precision": ratio(ratio(hits, num_answers).sum(-1), num_classes),
            "f1": ratio(ratio(2 * hits, num_references + num_answers).sum(-1), num_classes),
        }


def _with_other(values: FloatArray) -> FloatArray:
    """Append a zero for the class of other references, which no answer can hit: [..., 5] to [..., 6]."""
    return np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)


@dataclass(frozen=True)
class StrictLetterScorer(Scorer):
    """Counts every row; an answer without one of the task's own letters is wrong, and is a prediction of no class.

    An answer is read as `leading_letter` says. acc = hits / rows. recall, precision and f1 are means over all letters
    of the task, whether or not they occur; of one class

        recall = hits / references    precision = hits / answers    f1 = 2 hits / (references + answers)

    0 where a denominator is 0: a letter that is no row's reference has recall 0 though it is undefined, so that the
    figures of a few rows are lower than those of many. Source: scikit-learn's `precision_recall_fscore_support` with
    an answer that cannot be read as one more class, `labels=` the letters, `average="macro"` and `zero_division=0`.

    Attributes:
        letters: of the task's options.
    """

    letters: str
    flavour = STRICT
    metric_names = METRIC_NAMES

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Read the letter; a reference without one is kept as it is, and no answer hits it."""
        output = sample["output"].strip()
        known, parsed = leading_letter(output, self.letters), leading_letter(answer, self.letters)
        return choice_score(parsed, known or output, if_unread=0.0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return one indicator per (reference, answer), both with a place for what is no letter of the task."""
        confusion = confusion_indicators([(row.reference, row.parsed) for row in rows], self.letters)
        return confusion.reshape(len(rows), (len(self.letters) + 1) ** 2)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        size = len(self.letters)
        confusion = sums.reshape(*sums.shape[:-1], size + 1, size + 1)
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)[..., :size]
        num_references, num_answers = confusion.sum(-1)[..., :size], confusion.sum(-2)[..., :size]
        return {
            "acc": ratio(hits.sum(-1), sums.sum(-1)),
            "recall": ratio(hits, num_references).mean(-1),
            "precision": ratio(hits, num_answers).mean(-1),
            "f1": ratio(2 * hits, num_references + num_answers).mean(-1),
        }
