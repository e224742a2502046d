"""Sequential Recommendation: which of twenty products does a user buy next, given what was bought before?"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.tasks.recommendation_scorers import LETTERS, ReleasedRecommendationScorer, StrictRecommendationScorer
from ecellm.tasks.scorer import Sample, Samples, Scorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import random_choices

NUM_CANDIDATES = len(LETTERS)
MAX_PURCHASES = 50
_MAX_WORDS = 25
_TOO_LONG = 2000
_MARKUP = re.compile("[<&]")
_BREAKS_AND_QUOTES = str.maketrans("", "", '"\n\r')
_MAX_LIST_CHARACTERS = 200_000  # fifty items of 25 words are some 12,000; the parser's time and memory are bounded


def list_items(text: str | None) -> tuple[str, ...] | None:
    """Return the labelled items of the release's Python list repr; None if `text` is not that."""
    if not text or len(text) > _MAX_LIST_CHARACTERS:
        return None
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        return None
    return tuple(items)


def candidate_letters(options: str | None) -> tuple[str, ...] | None:
    """Return the letters of the candidates; None if `options` is no list of them."""
    items = list_items(options)
    return items and tuple(item[0] for item in items)


@dataclass(frozen=True, kw_only=True)
class RecommendationTask(Task):
    """A task whose answer is exactly one letter, A to T."""

    headline_metric: str = "recall@1"
    max_answer_tokens: int = 16

    def choices(self, sample: Sample) -> tuple[str, ...] | None:
        """Return the candidates' letters."""
        return candidate_letters(sample["options"])

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of a choice among twenty."""
        return ReleasedRecommendationScorer(), StrictRecommendationScorer()

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:
        """Return any candidate at random, and always the first."""
        letters = (self.choices(sample) or tuple(LETTERS) for sample in samples)
        return {"random-choice": random_choices(letters, seed), "always-A": ["A"] * len(samples)}


TASK = RecommendationTask(
    name="Sequential_Recommendation",
    short_name="SR",
    description="Which of twenty products does a user buy next? (A to T)",
)


class _TextOnly(HTMLParser):
    """Collects the text of a document, entities resolved."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep text between tags."""
        self.texts.append(data)


def _html_to_text(text: str) -> str:
    if not _MARKUP.search(text):
        return text
    parser = _TextOnly()
    parser.feed(text)
    parser.close()
    return "".join(parser.texts)


def clean_text(text: str | None) -> str:
    """Return a title, a brand or one category level as an item's text has it.

    Nothing if it is empty or has 2,000 characters or more; else without double quotes and line breaks, HTML turned
    into text, dots stripped at both ends and one dot appended. Source: ecinstruct's rules for SR.
    """
    if not text or len(text) >= _TOO_LONG:
        return ""
    return _html_to_text(text.translate(_BREAKS_AND_QUOTES)).strip(".") + "."


def item_text(title: str | None, levels: Sequence[str], brand: str | None) -> str:
    """Return an item's text: title, the first two category levels, brand, each cleaned, joined by single spaces.

    An empty part leaves a double space.
    """
    category = " ".join(clean_text(level) for level in levels[:2])
    return f"{clean_text(title)} {category} {clean_text(brand)}"


def shortened(text: str) -> str:
    """Cut a text to 25 words (at single spaces): dots stripped at both ends, `...` appended."""
    words = text.split(" ", _MAX_WORDS)
    if len(words) <= _MAX_WORDS:
        return text
    return " ".join(words[:_MAX_WORDS]).strip(".") + "..."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


ORDINALS = tuple(_ordinal(number) for number in range(1, MAX_PURCHASES + 1))


def list_reprs(labels: pa.Array, quoted: pa.Array, lengths: npt.NDArray[np.int64]) -> pa.Array:
    """Return Python list reprs of labelled texts, as inputs and options have them: string [num_lists].

    `["1st: ...", "2nd: ..."]` is made of the labels and of the texts' own reprs: a label holds neither quotes nor
    backslashes, so the repr of both together is the text's repr with the label behind its first quote.

    Args:
        labels: ordinals or letters, one for each text.
        quoted: reprs of the texts.
        lengths: how many texts each list has; they add up to `len(quoted)`.
    """
    quote, rest = pc.utf8_slice_codeunits(quoted, 0, 1), pc.utf8_slice_codeunits(quoted, 1)
    items = pc.binary_join_element_wise(quote, labels, ": ", rest, "")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, items), ", ")
    return pc.binary_join_element_wise("[", joined, "]", "")
