"""Answers to one task, scored in every flavour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ecellm.evaluation.intervals import Measured
from ecellm.tasks import RowScore, Sample, Scorer, Task
from ecellm.tasks.scorer import FloatArray
from ecellm.tasks.similarity_scorers import METRIC_NAMES, NOT_COMPUTED, SimilarityScorer


@dataclass(frozen=True)
class Similarity:
    """Figures of free text.

    Attributes:
        figures: by metric, for each answer; None for an answer or a figure without.
        reasons: why metrics were not computed.
    """

    figures: Sequence[Mapping[str, float | None] | None]
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Answers scored in one flavour.

    Attributes:
        scorer: of the task and flavour.
        rows: the score of each answer; row `i` of every flavour is of the same sample.
        statistics: what the metrics sum up: float64 [num_rows, num_statistics].
        reasons: why metrics were not computed, where more is known than the scorer can tell.
    """

    scorer: Scorer
    rows: Sequence[RowScore]
    statistics: FloatArray
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, scorer: Scorer, rows: Sequence[RowScore], reasons: Mapping[str, str] | None = None) -> "Scored":
        """Return scored rows with their statistics."""
        return cls(scorer, rows, scorer.statistics(rows), reasons or {})

    @property
    def flavour(self) -> str:
        """Released or strict."""
        return self.scorer.flavour

    @property
    def measured(self) -> Measured:
        """Statistics and metrics, as intervals take them."""
        return Measured(self.statistics, self.scorer.metrics)

    def take(self, places: Sequence[int]) -> "Scored":
        """Return some of the rows."""
        return replace(self, rows=[self.rows[place] for place in places], statistics=self.statistics[places])

    def unavailable(self) -> dict[str, str]:
        """Return the metrics that cannot be given for these rows, each with the reason."""
        absent = {name: why for name, why in self.reasons.items() if name in self.scorer.metric_names}
        return {**self.scorer.unavailable(self.rows), **absent}


def score_answers(
    task: Task, samples: Sequence[Sample], responses: Sequence[str], similarity: Similarity | None = None
) -> list[Scored]:
    """Score answers in every flavour, in the order of `task.scorers()`.

    Args:
        task: the task of all samples.
        samples: rows of the samples table.
        responses: what was answered to each.
        similarity: figures of free text; other tasks have no use for it.

    Raises:
        RuntimeError: a scorer fails on a row, which is named.
    """
    scored = []
    for scorer in task.scorers():
        rows = [_score(scorer, sample, response) for sample, response in zip(samples, responses, strict=True)]
        reasons: Mapping[str, str] = {}
        if isinstance(scorer, SimilarityScorer):
            reasons = dict.fromkeys(METRIC_NAMES, NOT_COMPUTED) if similarity is None else similarity.reasons
            rows = rows if similarity is None else _with_figures(scorer, rows, similarity)
        scored.append(Scored.of(scorer, rows, reasons))
    return scored


def _score(scorer: Scorer, sample: Sample, response: str) -> RowScore:
    """Score one answer; what goes wrong, a defect of the scorer, names the row."""
    try:
        return scorer.score(sample, response)
    except Exception as error:
        raise RuntimeError(
            f"the {scorer.flavour} scorer fails on sample {sample['sample_id']} of {sample['task']}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _with_figures(scorer: SimilarityScorer, rows: Sequence[RowScore], similarity: Similarity) -> list[RowScore]:
    result = []
    for row, values in zip(rows, similarity.figures, strict=True):
        given = {name: value for name, value in (values or {}).items() if value is not None}
        result.append(scorer.with_similarity(row, given))
    return result
