"""What is compared with what, and in which order it is computed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ecellm.tasks.scorer import answer_text

_TOKENS_OF_A_TEXT = 128  # texts up to this length fill a batch by their number, longer ones by their tokens


class TextPair(NamedTuple):
    """An answer and its reference, both stripped; either may be empty."""

    answer: str
    reference: str

    @classmethod
    def of(cls, response: str, reference: str) -> "TextPair":
        """Return what is compared: the answer is cut at a response header, as every scorer does."""
        return cls(answer_text(response), reference.strip())


def first_words(text: str, num_words: int) -> str:
    """Return a text as it is, or, if it has more words, the first of them with single spaces between.

    Source: the released scorer's cut before BLEURT.
    """
    words = text.split()
    return text if len(words) <= num_words else " ".join(words[:num_words])


def length_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield places of sequences of like length, the longest first.

    Args:
        lengths: tokens of each sequence.
        batch_size: most sequences of a batch; fewer where they are long, so that a batch takes about equal memory.
    """
    batch: list[int] = []
    most = 1
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and len(batch) == most:
            yield batch
            batch = []
        if not batch:
            most = max(1, min(batch_size, batch_size * _TOKENS_OF_A_TEXT // max(1, lengths[place])))
        batch.append(place)
    if batch:
        yield batch
