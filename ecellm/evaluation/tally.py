"""What metrics are computed from: kinds of scored rows, and how many rows are of each kind.

Rows with equal statistics in every flavour are of one kind, and interchangeable: sums, intervals and paired tests need
no more than the kinds and their counts. So a million yes-or-no answers are a table of some ten lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ecellm.evaluation.intervals import Measured
from ecellm.tasks import Scorer
from ecellm.tasks.scorer import FloatArray

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """Scored rows of one flavour.

    Attributes:
        scorer: of the task and flavour.
        statistics: what the metrics sum up, of each kind: float64 [num_kinds, num_statistics].
        counts: int64 [num_kinds], rows of each kind; row `i` of every flavour's tally is of the same samples.
        num_invalid: answers (QPR: parts of answers) that could not be parsed.
        reasons: why metrics were not computed, where more is known than the scorer can tell.
    """

    scorer: Scorer
    statistics: FloatArray
    counts: Counts
    num_invalid: int
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """All rows."""
        return int(self.counts.sum())

    @property
    def measured(self) -> Measured:
        """Statistics and metrics, as intervals take them."""
        return Measured(self.statistics, self.scorer.metrics)

    @property
    def sums(self) -> FloatArray:
        """The statistics' sums over all rows: float64 [num_statistics]."""
        return self.counts @ self.statistics

    def unavailable(self) -> dict[str, str]:
        """Return the metrics that cannot be given for these rows, each with the reason."""
        absent = {name: why for name, why in self.reasons.items() if name in self.scorer.metric_names}
        return {**self.scorer.absent(self.sums, self.num_rows), **absent}


def kinds_of(matrices: Sequence[FloatArray]) -> tuple[list[FloatArray], npt.NDArray[np.int32]]:
    """Return the distinct rows of matrices that lie side by side, and which of them each row is.

    Args:
        matrices: float64 [num_rows, width] each.

    Returns:
        The matrices with one row for each kind, and int32 [num_rows].
    """
    joined = np.ascontiguousarray(np.hstack(matrices) + 0.0)  # turns -0.0 into 0.0
    if not joined.size:
        return [matrix[:0] for matrix in matrices], np.zeros(0, np.int32)
    as_bytes = joined.view(np.dtype((np.void, joined.dtype.itemsize * joined.shape[1]))).ravel()
    _, first, kind = np.unique(as_bytes, return_index=True, return_inverse=True)
    return [matrix[first] for matrix in matrices], kind.astype(np.int32)
