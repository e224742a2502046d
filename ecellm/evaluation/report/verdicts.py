"""How right each answer of a run to one (setting, task) is: 14 bytes an answer, found by the sample's key."""

from array import array
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ecellm.dataset.hashing import UIntArray
from ecellm.evaluation.scored_rows import keys_of

_KEYS_AT_ONCE = 4096


class Judgement(StrEnum):
    """How right an answer is."""

    RIGHT = "right"
    PARTLY = "partly right"
    WRONG = "wrong"
    UNREADABLE = "unreadable"
    UNJUDGED = "not judged"


class Judged(NamedTuple):
    """One answer: how right it is, and a figure between 0 and 1 that orders answers, worst first."""

    judgement: Judgement
    score: float


_JUDGEMENTS = tuple(Judgement)


class Verdicts:
    """Verdicts by sample; those of a task are added one by one, then looked up."""

    def __init__(self) -> None:
        self._new: list[str] = []
        self._key_blocks: list[UIntArray] = []
        self._judgements = array("b")
        self._scores = array("f")
        self._reasons: dict[str, int] = {}
        self._reason_of: npt.NDArray[np.int16] | None = None
        self._order: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return how many answers were judged."""
        return len(self._scores)

    def add(self, sample_id: str, judged: Judged) -> None:
        """Take a verdict."""
        self._new.append(sample_id)
        self._judgements.append(_JUDGEMENTS.index(judged.judgement))
        self._scores.append(judged.score)
        if len(self._new) == _KEYS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._key_blocks.append(keys_of(self._new))
        self._new.clear()

    def places(self, keys: UIntArray) -> npt.NDArray[np.int64]:
        """Return where the verdicts of some samples are; -1 where there is none."""
        if self._order is None:
            self._flush()
            all_keys = np.concatenate([np.zeros(0, np.uint64), *self._key_blocks])
            self._order = np.argsort(all_keys)
            self._key_blocks = [all_keys[self._order]]
        (ordered,) = self._key_blocks
        if not len(ordered):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        return np.where(ordered[at] == keys, self._order[at], -1)

    def scores(self, keys: UIntArray, absent: float) -> npt.NDArray[np.float32]:
        """Return the scores of some samples, float32 [num_samples]; `absent` where there is none."""
        places = self.places(keys)
        known = np.append(np.frombuffer(self._scores, np.float32), np.float32(absent))
        return known[places]

    def judged(self, place: int) -> Judged:
        """Return the verdict at a place; of -1, one that says that there is none."""
        if place < 0:
            return Judged(Judgement.UNJUDGED, 0.0)
        return Judged(_JUDGEMENTS[self._judgements[place]], self._scores[place])

    def explain(self, place: int, reason: str) -> None:
        """Say why the answer at a place could not be read."""
        if self._reason_of is None:
            self._reason_of = np.full(len(self), -1, np.int16)
        self._reason_of[place] = self._reasons.setdefault(reason, len(self._reasons))

    def reason(self, place: int) -> str | None:
        """Return why the answer at a place could not be read; None if it could."""
        code = -1 if self._reason_of is None or place < 0 else self._reason_of[place]
        return None if code < 0 else list(self._reasons)[code]

    def num_explained(self) -> int:
        """Return how many answers have a reason."""
        return 0 if self._reason_of is None else int(np.count_nonzero(self._reason_of >= 0))

    def counts(self) -> Counter[Judgement]:
        """Return how many answers have each judgement."""
        numbers = np.bincount(np.frombuffer(self._judgements, np.int8), minlength=len(_JUDGEMENTS))
        return Counter(dict(zip(_JUDGEMENTS, numbers.tolist(), strict=True)))

    def of(self, sample_ids: Sequence[str]) -> list[Judged]:
        """Return the verdicts of some samples."""
        return [self.judged(place) for place in self.places(keys_of(sample_ids)).tolist()]
