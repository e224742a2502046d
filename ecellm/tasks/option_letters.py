"""Tasks answered by one of a few lettered options: product relation, sentiment, relevance of a product.

What is compared is the first character of the answer, A to E; a reference is either the letter alone or the whole text
of the option.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecellm.tasks.task import FloatArray, RowScore, Sample, Task, ratio
from ecellm.tasks.trivial_answers import most_frequent, random_choices

LETTERS = "ABCDE"
METRIC_NAMES = ("acc", "recall", "precision", "f1")
_NUM_CLASSES = len(LETTERS) + 1  # the last one holds references of any other letter, which no answer can hit


def option_texts(options: str | None) -> tuple[str, ...] | None:
    """Return the options of a JSON list of texts; None if `options` is not that."""
    try:
        texts = json.loads(options) if options else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return None
    return tuple(texts)


@dataclass(frozen=True, kw_only=True)
class LetterTask(Task):
    """A task whose answer begins with the letter of an option; the metrics are averages over the classes.

    Attributes:
        answers_with_letter: whether the reference is the letter alone, rather than the option's whole text.
    """

    metric_names: tuple[str, ...] = METRIC_NAMES
    answers_with_letter: bool

    def choices(self, sample: Sample) -> tuple[str, ...] | None:
        """Return the options' texts, or only their letters where the reference is the letter.

        None where an option has no letter of its own: no answer could be told from another.
        """
        texts = option_texts(sample["options"])
        letters = {text[:1] for text in texts or ()}
        if texts is not None and (len(letters) < len(texts) or not letters <= {*LETTERS}):
            return None
        if texts is not None and self.answers_with_letter:
            return tuple(text[:1] for text in texts)
        return texts

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Take the first character if it is A to E; every other answer is left out, an empty one too."""
        reference, parsed = sample["output"][:1], answer[:1]
        if parsed not in LETTERS or not parsed:
            return RowScore(None, is_valid=False, reference=reference, components={"correct": None}, num_invalid=1)
        components = {"correct": float(parsed == reference)}
        return RowScore(parsed, is_valid=True, reference=reference, components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return one indicator per (reference, answer): 6 x 5 flattened, all 0 if invalid."""
        result = np.zeros((len(rows), _NUM_CLASSES, len(LETTERS)))
        for number, row in enumerate(rows):
            if row.is_valid and row.parsed:
                place = LETTERS.find(row.reference) if row.reference else -1
                result[number, place, LETTERS.index(row.parsed)] = 1
        return result.reshape(len(rows), -1)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return accuracy and macro-averaged recall, precision and F1.

        As scikit-learn's: the mean over the classes that occur among references or answers, 0 where a class would
        divide by 0. So an answer D where the options end at C adds a class with all figures 0.
        """
        confusion = sums.reshape(*sums.shape[:-1], _NUM_CLASSES, len(LETTERS))
        hits = _with_other(np.diagonal(confusion, axis1=-2, axis2=-1))
        num_references, num_answers = confusion.sum(-1), _with_other(confusion.sum(-2))
        num_classes = np.count_nonzero(num_references + num_answers, axis=-1).astype(float)
        return {
            "acc": ratio(hits.sum(-1), num_references.sum(-1)),
            "recall": ratio(ratio(hits, num_references).sum(-1), num_classes),
            "precision": ratio(ratio(hits, num_answers).sum(-1), num_classes),
            "f1": ratio(ratio(2 * hits, num_references + num_answers).sum(-1), num_classes),
        }

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:
        """Return always the most frequent answer, and any option at random."""
        options = [self.choices(sample) or tuple(LETTERS) for sample in samples]
        return {
            "majority": most_frequent([sample["output"] for sample in samples]),
            "random-choice": random_choices(options, seed),
        }


def _with_other(values: FloatArray) -> FloatArray:
    """Append a zero for the class of other references: [..., 5] to [..., 6]."""
    return np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)
