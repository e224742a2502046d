"""Tasks answered by one of a few lettered options: product relation, sentiment, relevance of a product.

A reference is either the letter alone or the whole text of the option.
"""

from dataclasses import dataclass

from ecellm.json_text import read_json
from ecellm.tasks.letter_scorers import LETTERS, ReleasedLetterScorer, StrictLetterScorer
from ecellm.tasks.scorer import Sample, Samples, Scorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import most_frequent, random_choices
from ecellm.tasks.wire_options import option_list


def option_texts(options: str | None) -> tuple[str, ...] | None:
    """Return the options of a JSON list of texts; None if `options` is not that."""
    try:
        texts = read_json(options) if options else None
    except ValueError:
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

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of lettered answers; the strict one knows the letters of the task's own options."""
        letters = "".join(text[0] for text in option_list(self.short_name))
        return ReleasedLetterScorer(), StrictLetterScorer(letters)

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:
        """Return always the most frequent answer, and any option at random."""
        options = (self.choices(sample) or tuple(LETTERS) for sample in samples)
        return {
            "majority": most_frequent(sample["output"] for sample in samples),
            "random-choice": random_choices(options, seed),
        }
