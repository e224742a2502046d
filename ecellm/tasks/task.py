"""What a task of ECInstruct is: its names, its closed answers, and how its answers are scored.

A row's answer becomes a `RowScore`; rows become a matrix of statistics; a metric is a function of the *sums* of these
statistics over the rows. That form makes the bootstrap one matrix product (`metrics(counts @ statistics)`), and lets
trivial answers and models be scored by the very same code.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Sample = Mapping[str, Any]
FloatArray = npt.NDArray[np.float64]

RELEASED = "released"
FLAVOURS = (RELEASED,)

# The headers of the two published prompt formats; the mistral one has the closing tag before it.
_RESPONSE_HEADER = re.compile(r"(?:\[/INST\]\s*)?### Response:")


@dataclass(frozen=True)
class RowScore:
    """The score of one answer.

    Attributes:
        parsed: the answer as the scorer understood it; None if it could not.
        is_valid: whether the answer could be parsed.
        reference: what it was compared with.
        components: figures of the row by name; None where the flavour leaves the row out.
        num_invalid: what the row adds to `#invalid`: 0 or 1, or the number of skipped parts of a ranking.
    """

    parsed: str | None
    is_valid: bool
    reference: str
    components: Mapping[str, float | None]
    num_invalid: int


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One task; families of tasks with the same kind of answer are its subclasses.

    Attributes:
        name: canonical name, spelled correctly.
        short_name: the paper's abbreviation.
        description: what is asked, in one line.
        headline_metric: the metric of the paper's overview table.
        metric_names: all metrics, in the order in which the released scorer prints them.
        aliases: other spellings, as the release and the authors' scripts have them.
        max_answer_tokens: cap on the answer's length that no correct answer reaches.
        ranks_choices: whether an answer names all choices, best first, joined by commas.
        is_one_line: whether no correct answer has a line break.
    """

    name: str
    short_name: str
    description: str
    headline_metric: str
    metric_names: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    max_answer_tokens: int = 100
    ranks_choices: bool = False
    is_one_line: bool = True

    def choices(self, sample: Sample) -> tuple[str, ...] | None:  # noqa: ARG002  open tasks have none
        """Return the full texts of the possible answers, or of what is ranked.

        None where the answer is open, or they cannot be read.
        """
        return None

    def score(self, sample: Sample, response: str, flavour: str = RELEASED) -> RowScore:
        """Score the text that a model answered to `sample`.

        Raises:
            ValueError: there is no such flavour.
        """
        if flavour not in FLAVOURS:
            raise ValueError(f"unknown flavour {flavour!r}; known flavours: {', '.join(FLAVOURS)}")
        return self._score_released(sample, answer_text(response))

    @abstractmethod
    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Score a stripped answer as the released scorer does."""

    @abstractmethod
    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return what the metrics sum up: float64 [num_rows, num_statistics]."""

    @abstractmethod
    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return metrics [...] by name from sums of statistics [..., num_statistics]; 0 where nothing counts."""

    def unavailable(self, rows: Sequence[RowScore]) -> dict[str, str]:  # noqa: ARG002  most tasks miss nothing
        """Return the metrics that cannot be given for these rows, each with the reason."""
        return {}

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:  # noqa: ARG002
        """Return answers that need no model, by name: one response for each sample.

        Those named after the most frequent answer look at the references of the very samples that they answer, so
        that they are a little better than what could be known beforehand.
        """
        return {}


def answer_text(response: str) -> str:
    """Return the part of a completion that is scored: up to a response header, stripped.

    The authors' script splits prompt and completion at the response header and keeps what follows its first
    occurrence, up to a second one (`utils/prompter.py`, `get_response`). Our engines return the completion alone, so
    the first header in it is that second one.
    """
    return _RESPONSE_HEADER.split(response, maxsplit=1)[0].strip()


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide elementwise; 0 where the denominator is 0, as scikit-learn does by default."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)
