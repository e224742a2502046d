"""How the answers to a task are scored: one scorer for each task and flavour.

A row's answer becomes a `RowScore`; rows become a matrix of statistics; a metric is a function of the *sums* of these
statistics over the rows. That form makes the bootstrap one matrix product (`metrics(counts @ statistics)`), and lets
trivial answers and models be scored by the very same code.

The flavour `released` gives, figure for figure, what the released scorer prints: it drops answers that it cannot read.
In the flavour `strict` every row counts, and what cannot be read is wrong.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Sample = Mapping[str, Any]


class Samples(Protocol):
    """Samples that may be gone over more than once, and need not be in memory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


FloatArray = npt.NDArray[np.float64]

RELEASED, STRICT = "released", "strict"
FLAVOURS = (RELEASED, STRICT)

# The headers of the two published prompt formats, letter by letter; the mistral one has the closing tag before it.
_RESPONSE_HEADER = re.compile(r"(?:\[/INST\] )?### Response:")


@dataclass(frozen=True)
class RowScore:
    """The score of one answer.

    Attributes:
        parsed: the answer as the scorer understood it; None if it could not.
        is_valid: whether the answer could be parsed.
        reference: what it was compared with.
        components: figures of the row by name; None where the flavour leaves the row out.
        num_invalid: what the row adds to `#invalid`: 0 or 1, or the number of skipped parts of a ranking.
        parts: scores of the parts of the answer by the part's name, where it has parts (extraction: attributes).
    """

    parsed: str | None
    is_valid: bool
    reference: str
    components: Mapping[str, float | None]
    num_invalid: int
    parts: Mapping[str, "RowScore"] = field(default_factory=dict)


class Scorer(ABC):
    """Scores the answers to one task under one flavour.

    Attributes:
        flavour: released or strict.
        metric_names: all metrics, in the order in which the released scorer prints them.
        part_name: what the parts of an answer are (a slice's name in the metrics table); None without parts.
    """

    flavour: ClassVar[str]
    metric_names: tuple[str, ...]
    part_name: ClassVar[str | None] = None

    def score(self, sample: Sample, response: str) -> RowScore:
        """Score the text that a model answered to `sample`."""
        return self._score(sample, answer_text(response))

    @abstractmethod
    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Score a stripped answer."""

    @abstractmethod
    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return what the metrics sum up: float64 [num_rows, num_statistics]."""

    @abstractmethod
    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return metrics [...] by name from sums of statistics [..., num_statistics]; 0 where nothing counts."""

    def absent(self, sums: FloatArray, num_rows: int) -> dict[str, str]:  # noqa: ARG002  most tasks miss nothing
        """Return the metrics that cannot be given, each with the reason.

        Args:
            sums: of the rows' statistics, float64 [num_statistics].
            num_rows: how many rows these are.
        """
        return {}

    def unavailable(self, rows: Sequence[RowScore]) -> dict[str, str]:
        """Return the metrics that cannot be given for these rows, each with the reason."""
        return self.absent(self.statistics(rows).sum(axis=0), len(rows))


def choice_score(parsed: str | None, reference: str, *, if_unread: float | None) -> RowScore:
    """Return the score of an answer that names one of a task's choices.

    Args:
        parsed: the choice that was read; None if none could be.
        reference: the true choice.
        if_unread: what an answer counts that could not be read; None leaves it out.
    """
    is_valid = parsed is not None
    return RowScore(
        parsed,
        is_valid=is_valid,
        reference=reference,
        components={"correct": float(parsed == reference) if is_valid else if_unread},
        num_invalid=int(not is_valid),
    )


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
