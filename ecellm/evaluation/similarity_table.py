"""Figures of free text by run and sample, as the step before scoring leaves them in Parquet.

They lie in `text_similarity/data/part-*.parquet` below evaluate's output: columns run_id, sample_id and one for each
metric, null where it was not computed; why, a file's metadata may say. Trivial baselines have the run_id
`floor-<name>`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ecellm.evaluation.answered import read_columns
from ecellm.evaluation.scored import Similarity
from ecellm.storage import Storage, join
from ecellm.tasks import Sample, Task
from ecellm.tasks.similarity_scorers import METRIC_NAMES, SimilarityScorer

DIRECTORY = "text_similarity"
REASONS_KEY = b"ecellm_reasons"  # in a file's metadata: JSON, metric to reason


@dataclass(frozen=True)
class SimilarityTable:
    """Figures by (run_id, sample_id), then by metric; empty where nothing was computed.

    Attributes:
        figures: None where a figure was not computed.
        reasons: why, by metric.
    """

    figures: Mapping[tuple[str, str], Mapping[str, float | None]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of_answers(self, run_id: str, samples: Sequence[Sample]) -> Similarity | None:
        """Return the figures of a run's answers, in the order of the samples."""
        if not self.figures:
            return None
        return Similarity([self.figures.get((run_id, sample["sample_id"])) for sample in samples], self.reasons)


def read_similarity(storage: Storage, output_dir: str, task: Task | None) -> SimilarityTable:
    """Return the figures that lie below evaluate's output; none for tasks that are scored without."""
    if task is None or not any(isinstance(scorer, SimilarityScorer) for scorer in task.scorers()):
        return SimilarityTable()
    files = storage.list_files(join(output_dir, DIRECTORY, "data"), ".parquet")
    if not files:
        return SimilarityTable()
    columns = read_columns(storage, files, ("run_id", "sample_id"), METRIC_NAMES).to_pydict()
    keys = zip(columns.pop("run_id"), columns.pop("sample_id"), strict=True)
    rows = zip(*columns.values(), strict=True) if columns else ()
    figures = {key: dict(zip(columns, row, strict=True)) for key, row in zip(keys, rows, strict=True)}
    reasons: dict[str, str] = {}
    for path in files:
        with storage.parquet_file(path) as file:
            reasons |= json.loads((file.schema_arrow.metadata or {}).get(REASONS_KEY, b"{}"))
    return SimilarityTable(figures, reasons)
