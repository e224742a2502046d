"""How free text is scored: by its likeness to the reference, which language models compute in batches elsewhere.

A scorer reads the text; `with_similarity` adds the figures of a row, once they are there. Without them a metric is
null, with the reason.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, ratio

METRIC_NAMES = ("bertscore_recall", "bertscore_precision", "bertscore_f1", "bleurt", "rouge_l")
NOT_COMPUTED = "needs text similarity, which is not computed"
# A row without figures keeps this one component, so that its answer has a place in the scores table.
_NO_FIGURES = {"bertscore_f1": None}


class SimilarityScorer(Scorer):
    """Takes means of figures that compare an answer with its reference.

    bertscore_recall, bertscore_precision, bertscore_f1: BERTScore (Zhang et al. 2020). bleurt: BLEURT (Sellam et al.
    2020). rouge_l: the longest common subsequence of words (Lin 2004). Each metric is the sum of the rows' figures /
    the number of rows with a figure, and is given only if that is every row.
    """

    metric_names = METRIC_NAMES

    @abstractmethod
    def with_similarity(self, row: RowScore, values: Mapping[str, float]) -> RowScore:
        """Return a scored row with its figures by metric; those that are not given or no number stay unavailable.

        Raises:
            ValueError: a name is none of the metrics.
        """

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return figure and 1 for each metric, or 0 and 0 where a row has no figure: metric after metric."""
        figures = [[row.components.get(name) for name in self.metric_names] for row in rows]
        pairs = [[(0.0, 0.0) if value is None else (value, 1.0) for value in row] for row in figures]
        return np.array(pairs, float).reshape(len(rows), 2 * len(self.metric_names))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return means."""
        totals, counts = np.moveaxis(sums[..., ::2], -1, 0), np.moveaxis(sums[..., 1::2], -1, 0)
        return dict(zip(self.metric_names, ratio(totals, counts), strict=True))

    def absent(self, sums: FloatArray, num_rows: int) -> dict[str, str]:
        """Return the metrics for which not every row has a figure, with how many lack it."""
        missing = (num_rows - sums[1::2]).astype(int).tolist()
        return {
            name: NOT_COMPUTED if number == num_rows else f"not computed for {number} of {num_rows} answers"
            for name, number in zip(self.metric_names, missing, strict=True)
            if number or not num_rows
        }


def _checked(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the figures, None for NaN and infinity; none at all becomes `_NO_FIGURES`."""
    unknown = values.keys() - set(METRIC_NAMES)
    if unknown:
        raise ValueError(f"unknown similarity {', '.join(sorted(unknown))}; known: {', '.join(METRIC_NAMES)}")
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()} or {**_NO_FIGURES}


class ReleasedSimilarityScorer(SimilarityScorer):
    """Accepts any answer, an empty one too: its figures are what the language models make of it.

    Source: the released scorer, which takes the means of BERTScore (English default model) and of BLEURT-20-D12 of the
    first 300 words. It has no rouge_l; ours stands beside them.
    """

    flavour = RELEASED

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Keep the text."""
        return RowScore(answer, is_valid=True, reference=sample["output"], components=_NO_FIGURES, num_invalid=0)

    def with_similarity(self, row: RowScore, values: Mapping[str, float]) -> RowScore:
        """Return the row with its figures."""
        return replace(row, components=_checked(values))


class StrictSimilarityScorer(SimilarityScorer):
    """Counts every row; an empty answer is invalid, and each of its figures is 0 whatever a language model says.

    Or below 0, where BLEURT says so: it has no lower end, and to say nothing must not be better than what it rates
    worst. Sources: as for the released flavour; the rule for empty answers is ours.
    """

    flavour = STRICT

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Keep the text, unless there is none."""
        return RowScore(
            answer or None,
            is_valid=bool(answer),
            reference=sample["output"],
            components=_NO_FIGURES if answer else dict.fromkeys(METRIC_NAMES, 0.0),
            num_invalid=int(not answer),
        )

    def with_similarity(self, row: RowScore, values: Mapping[str, float]) -> RowScore:
        """Return the row with its figures; of an invalid one, those below 0."""
        figures = _checked(values)
        if not row.is_valid:
            figures = {name: min(0.0, figures.get(name) or 0.0) for name in METRIC_NAMES}
        return replace(row, components=figures)
