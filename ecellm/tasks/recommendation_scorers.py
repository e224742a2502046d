"""How the choice of one of twenty lettered candidates is scored: by the paper's HR@1."""

import re
from collections.abc import Sequence

import numpy as np

from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, choice_score, ratio

LETTERS = "ABCDEFGHIJKLMNOPQRST"
METRIC_NAMES = ("recall@1",)
_LETTER = re.compile(rf"([{LETTERS}])(?:\.|:.*)?", re.DOTALL)


def read_letter(text: str) -> str | None:
    """Return the letter of a text that is one letter A to T, alone, with a full stop, or with a colon and any text.

    What follows the colon is not compared with the candidate's text: `C: some item` is C.
    """
    match = _LETTER.fullmatch(text)
    return match[1] if match else None


class _RecommendationScorer(Scorer):
    """What both flavours share: sums of (hit, counted)."""

    metric_names = METRIC_NAMES

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return recall@1: hits / rows that count."""
        hits, counted = np.moveaxis(sums, -1, 0)
        return {"recall@1": ratio(hits, counted)}


class ReleasedRecommendationScorer(_RecommendationScorer):
    """Leaves out every answer that is not exactly one letter A to T.

    recall@1 (the paper's HR@1) = hits / rows that are left. Source: the released scorer.
    """

    flavour = RELEASED

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Accept one letter A to T."""
        parsed = answer if len(answer) == 1 and answer in LETTERS else None
        return choice_score(parsed, sample["output"].strip(), if_unread=None)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hit and counted: (1, 1), (0, 1), or (0, 0) if invalid."""
        return np.array([[row.components["correct"] or 0.0, row.is_valid] for row in rows], float).reshape(-1, 2)


class StrictRecommendationScorer(_RecommendationScorer):
    """Counts every row; an answer that `read_letter` cannot read is wrong.

    recall@1 (the paper's HR@1) = hits / rows. Source: hit rate at 1, as usual for recommendation with one target.
    """

    flavour = STRICT

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Read the letter of answer and reference; a reference without one is kept, and no answer hits it."""
        output = sample["output"].strip()
        return choice_score(read_letter(answer), read_letter(output) or output, if_unread=0.0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hit and 1."""
        return np.array([[row.components["correct"] or 0.0, 1.0] for row in rows], float).reshape(-1, 2)
