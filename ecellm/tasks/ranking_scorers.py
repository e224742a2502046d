"""How rankings of two to four lettered candidates are scored: by NDCG."""

from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np

from ecellm.json_text import read_json
from ecellm.tasks.letter_scorers import leading_letter
from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, ratio

GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
METRIC_NAMES = ("ndcg",)
NO_LABELS = "relevance labels are not in the samples (ingest with qpr_labels)"
_EPSILON = 1e-6


def candidate_letters(sample: Sample) -> tuple[str, ...]:
    """Return the letters of the candidates: one for each relevance label, else for each product of the input."""
    relevance = sample["relevance"]
    if relevance:
        return tuple(ascii_uppercase[: len(relevance)])
    try:
        fields = read_json(sample["input"])
    except ValueError:
        return ()
    products = fields.get("product list") if isinstance(fields, dict) else None
    return tuple(ascii_uppercase[: len(products)]) if isinstance(products, list) else ()


def discounted_gain(gains: Sequence[float]) -> float:
    """Return DCG = sum over ranks r = 1.. of (2^gain - 1) / log2(r + 1).

    Source: Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques (2002), with the exponential gain
    of Burges et al., Learning to rank using gradient descent (2005).
    """
    return sum((2**gain - 1) / float(np.log2(rank + 1)) for rank, gain in enumerate(gains, 1))


class _RankingScorer(Scorer):
    """What both flavours share: the mean over all rows, also those in which no candidate was named."""

    metric_names = METRIC_NAMES

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return NDCG, 1, and whether there is no NDCG."""
        figures = [row.components["ndcg"] for row in rows]
        return np.array([[figure or 0.0, 1.0, figure is None] for figure in figures], float).reshape(-1, 3)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the mean NDCG."""
        total, num_rows, _ = np.moveaxis(sums, -1, 0)
        return {"ndcg": ratio(total, num_rows)}

    def absent(self, sums: FloatArray, num_rows: int) -> dict[str, str]:  # noqa: ARG002
        """Return the reason why there is no NDCG if the labels of any row are missing."""
        return {"ndcg": NO_LABELS} if sums[-1] else {}


class ReleasedRankingScorer(_RankingScorer):
    """Rates the order of the candidates that the parts between commas begin with, however few they are.

    Only a part's first character is looked up, so the second part of `A, B` (a space) is skipped and counted. Gains are
    E 1.0, S 0.1, C 0.01, I 0; NDCG = dcg / (idcg + 1e-6), where the ideal order is one of what was kept, not of all
    candidates; ndcg is the mean over all rows. Source: the released scorer.
    """

    flavour = RELEASED

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Keep candidates with a label; a repeated one counts again."""
        candidates, relevance = candidate_letters(sample), sample["relevance"]
        parts = answer.split(",")
        kept = [part[0] for part in parts if part and part[0] in candidates]
        ndcg: float | None = None
        if relevance:
            label_of = dict(zip(candidates, relevance, strict=False))
            kept = [letter for letter in kept if label_of[letter] in GAINS]
            gains = [GAINS[label_of[letter]] for letter in kept]
            ndcg = discounted_gain(gains) / (discounted_gain(sorted(gains, reverse=True)) + _EPSILON)
        return RowScore(
            parsed=",".join(kept) if kept else None,
            is_valid=bool(kept),
            reference=sample["output"],
            components={"ndcg": ndcg},
            num_invalid=len(parts) - len(kept),
        )


class StrictRankingScorer(_RankingScorer):
    """Rates the order of all candidates: those that an answer does not name come last, the least relevant first.

    A part between commas names a candidate as `leading_letter` reads it, with white space around it; what names none is
    skipped and counted; a candidate that was named before is ignored. Gains are E 1.0, S 0.1, C 0.01, I 0;

        NDCG = dcg / idcg    ndcg = sum of NDCG / rows

    where the ideal order is one of all candidates. So an answer that leaves candidates out never earns more than the
    one that goes on with them in any order. An answer that names no candidate is wrong: 0, which is less than the worst
    order. Where no candidate is relevant, no order is better than another and NDCG is 0, as in scikit-learn's
    `ndcg_score`; candidates with distinct labels, as the recipe draws them, always have a relevant one. Source:
    Jarvelin and Kekalainen (2002), see `discounted_gain`.
    """

    flavour = STRICT

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Complete the order and rate it; without a label for every candidate there is no figure."""
        candidates = "".join(candidate_letters(sample))
        parts = [leading_letter(part.strip(), candidates) for part in answer.split(",")]
        named = list(dict.fromkeys(letter for letter in parts if letter))
        return RowScore(
            parsed=",".join(named) if named else None,
            is_valid=bool(named),
            reference=sample["output"],
            components={"ndcg": _completed_ndcg(named, dict(zip(candidates, sample["relevance"] or (), strict=False)))},
            num_invalid=parts.count(None),
        )


def _completed_ndcg(named: Sequence[str], label_of: dict[str, str]) -> float | None:
    """Return the NDCG of all candidates, those not named last; None if a label is missing or unknown."""
    if not label_of or not GAINS.keys() >= set(label_of.values()):
        return None
    if not named:
        return 0.0
    gain_of = {letter: GAINS[label] for letter, label in label_of.items()}
    missing = sorted(gain for letter, gain in gain_of.items() if letter not in named)
    ideal = discounted_gain(sorted(gain_of.values(), reverse=True))
    return discounted_gain([gain_of[letter] for letter in named] + missing) / ideal if ideal else 0.0
