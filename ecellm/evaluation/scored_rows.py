"""Scored answers to one (setting, task, split) in columns: a few numbers each, however long the texts were.

Answers are added block by block. Of each stay the kind of its statistics (see `tally`), how many of its parts could
not be read, a key of its sample, and the codes of what it may be sliced by: some 50 bytes. Free text, where every
answer has figures of its own, takes 160 more.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ecellm.dataset.hashing import UIntArray, keys_of_texts
from ecellm.evaluation.scored import Scored
from ecellm.evaluation.tally import Tally, kinds_of
from ecellm.tasks.scorer import FloatArray

Codes = npt.NDArray[np.int32]
Values = Mapping[str, Sequence[str | int | None]]
NO_VALUE = -1


class ScoredRows:
    """Answers scored in several flavours.

    Attributes:
        parts: scores of the answers' parts by flavour, where they have parts; their own slice says which part.
    """

    def __init__(self) -> None:
        self._first: list[Scored] = []
        self._kinds: list[list[FloatArray]] = []
        self._num_kinds = 0
        self._kind: list[npt.NDArray[np.int32]] = []
        self._num_invalid: list[npt.NDArray[np.int32]] = []
        self._keys: list[UIntArray] = []
        self._codes: dict[str, list[Codes]] = {}
        self._values: dict[str, dict[str | int, int]] = {}
        self.parts: dict[str, ScoredRows] = {}

    def add(self, scored: Sequence[Scored], slices: Values, ids: Sequence[str] = ()) -> None:
        """Take a block of scored answers.

        Args:
            scored: the answers in each flavour.
            slices: what they may be sliced by: for each answer its value, or None.
            ids: of the answers' samples or examples, if they will be compared with another run's.
        """
        kinds, kind = kinds_of([each.statistics for each in scored])
        self._first = self._first or [each.take([]) for each in scored]
        self._kinds.append(kinds)
        self._kind.append(kind + np.int32(self._num_kinds))
        self._num_kinds += len(kinds[0])
        invalid = [[row.num_invalid for row in each.rows] for each in scored]
        self._num_invalid.append(np.array(invalid, np.int32).reshape(len(scored), -1))
        if ids:
            self._keys.append(keys_of(ids))
        for name, values in slices.items():
            codes = self._values.setdefault(name, {})
            own = [NO_VALUE if value is None else codes.setdefault(value, len(codes)) for value in values]
            self._codes.setdefault(name, []).append(np.array(own, np.int32))

    def __len__(self) -> int:
        """Return the number of answers."""
        return sum(map(len, self._kind))

    @property
    def keys(self) -> UIntArray:
        """64-bit keys of the ids that were given: uint64 [num_rows]."""
        return np.concatenate(self._keys)

    @property
    def kind(self) -> npt.NDArray[np.int32]:
        """The kind of each answer: int32 [num_rows]."""
        if len(self._kind) > 1:
            self._kind = [np.concatenate(self._kind)]
        return self._kind[0]

    def kinds(self) -> list[FloatArray]:
        """Return the statistics of each kind in each flavour: float64 [num_kinds, num_statistics]."""
        if len(self._kinds) > 1:
            self._kinds = [[np.concatenate(blocks) for blocks in zip(*self._kinds, strict=True)]]
        return self._kinds[0]

    def slices(self) -> dict[str, tuple[Codes, list[str | int]]]:
        """Return what the answers may be sliced by: of each name, the code of each answer, and the codes' values."""
        return {name: (np.concatenate(blocks), list(self._values[name])) for name, blocks in self._codes.items()}

    def tallies(self, places: npt.NDArray[np.int64] | None = None) -> list[Tally]:
        """Return what there is of each kind, in each flavour.

        Args:
            places: of some of the answers; None for all.
        """
        kind = self.kind if places is None else self.kind[places]
        counts = np.bincount(kind, minlength=self._num_kinds)
        there = np.flatnonzero(counts)
        if len(self._num_invalid) > 1:
            self._num_invalid = [np.concatenate(self._num_invalid, axis=1)]
        invalid = self._num_invalid[0] if places is None else self._num_invalid[0][:, places]
        return [
            Tally(first.scorer, statistics[there], counts[there], int(number), first.reasons)
            for first, statistics, number in zip(self._first, self.kinds(), invalid.sum(axis=1), strict=True)
        ]


def keys_of(ids: Sequence[str]) -> UIntArray:
    """Return 64-bit keys of ids: uint64 [num_ids]."""
    return keys_of_texts(np.array(ids, dtype=object))


def tallies_of(scored: Sequence[Scored]) -> list[Tally]:
    """Return the tallies of answers that are in memory as a whole, in each flavour."""
    rows = ScoredRows()
    rows.add(scored, {})
    return rows.tallies()
