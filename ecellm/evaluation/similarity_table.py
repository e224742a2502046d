"""Figures of free text by run and sample, as the step before scoring leaves them in Parquet.

They lie in `text_similarity/data/part-*.parquet` below evaluate's output: columns run_id, sample_id and one for each
metric, null where it was not computed; why, a file's metadata may say. Floors have the run_id
`floor-<name>`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ecellm.dataset.hashing import UIntArray, keys_of_texts
from ecellm.evaluation.answered import read_columns
from ecellm.evaluation.scored import Similarity
from ecellm.evaluation.scored_rows import keys_of
from ecellm.storage import Storage, join
from ecellm.tasks import Sample, Task
from ecellm.tasks.scorer import FloatArray
from ecellm.tasks.similarity_scorers import METRIC_NAMES, SimilarityScorer

DIRECTORY = "text_similarity"
REASONS_KEY = b"ecellm_reasons"  # in a file's metadata: JSON, metric to reason


@dataclass(frozen=True)
class SimilarityTable:
    """Figures by run, sample and metric; empty where nothing was computed.

    Attributes:
        metrics: names of the figures.
        figures: by run_id: keys of the samples, uint64 [num_rows], sorted; and float64 [num_rows, num_metrics], NaN
            where a figure was not computed.
        reasons: why, by metric.
    """

    metrics: Sequence[str] = ()
    figures: Mapping[str, tuple[UIntArray, FloatArray]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of_answers(self, run_id: str, samples: Sequence[Sample]) -> Similarity | None:
        """Return the figures of a run's answers, in the order of the samples."""
        if not self.figures:
            return None
        keys, figures = self.figures.get(run_id, (np.zeros(0, np.uint64), np.zeros((0, len(self.metrics)))))
        if not len(keys):
            return Similarity([None] * len(samples), self.reasons)
        wanted = keys_of([str(sample["sample_id"]) for sample in samples])
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        rows = [self._figures(row) for row in figures[at].tolist()]
        return Similarity(
            [row if is_there else None for row, is_there in zip(rows, keys[at] == wanted, strict=True)], self.reasons
        )

    def _figures(self, row: Sequence[float]) -> dict[str, float | None]:
        # NaN is the one number that differs from itself.
        return {name: value if value == value else None for name, value in zip(self.metrics, row, strict=True)}  # noqa: PLR0124


def read_similarity(storage: Storage, output_dir: str, task: Task | None, setting: str) -> SimilarityTable:
    """Return the figures of one setting that lie below evaluate's output; none for tasks that are scored without."""
    if task is None or not any(isinstance(scorer, SimilarityScorer) for scorer in task.scorers()):
        return SimilarityTable()
    files = [
        path
        for path in storage.list_files(join(output_dir, DIRECTORY, "data"), ".parquet")
        if _is_of_setting(storage, path, setting)
    ]
    if not files:
        return SimilarityTable()
    reasons: dict[str, str] = {}
    metrics: list[str] = []
    for path in files:
        with storage.parquet_file(path) as file:
            reasons |= json.loads((file.schema_arrow.metadata or {}).get(REASONS_KEY, b"{}"))
            metrics += [name for name in METRIC_NAMES if name in file.schema_arrow.names and name not in metrics]
    return SimilarityTable(metrics, dict(_figures_of_runs(storage, files, metrics)), reasons)


def _is_of_setting(storage: Storage, path: str, setting: str) -> bool:
    """Tell whether a part, whose rows are all of one setting, is of this one."""
    with storage.parquet_file(path) as file:
        batch = next(file.iter_batches(batch_size=1, columns=["setting"]), None)
    return batch is not None and batch.num_rows > 0 and batch["setting"][0].as_py() == setting


def _figures_of_runs(
    storage: Storage, files: Sequence[str], metrics: Sequence[str]
) -> Iterable[tuple[str, tuple[UIntArray, FloatArray]]]:
    """Yield each run's keys and figures."""
    found: dict[str, list[tuple[UIntArray, FloatArray]]] = {}
    for path in files:
        table = read_columns(storage, [path], ("run_id", "sample_id"), metrics)
        keys = keys_of_texts(table["sample_id"])
        columns = [
            table[name].cast("float64").to_numpy() if name in table.column_names else np.full(len(keys), np.nan)
            for name in metrics
        ]
        figures = np.column_stack(columns) if columns else np.zeros((len(keys), 0))
        runs = np.asarray(table["run_id"], dtype=object)
        for run_id in dict.fromkeys(runs.tolist()):
            own = runs == run_id
            found.setdefault(run_id, []).append((keys[own], figures[own]))
    for run_id, parts in found.items():
        keys = np.concatenate([part[0] for part in parts])
        order = np.argsort(keys)
        yield run_id, (keys[order], np.concatenate([part[1] for part in parts])[order])
