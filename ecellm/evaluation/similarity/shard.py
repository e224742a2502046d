"""The parallel work of text similarity: one part of one run's answers in one setting, or of a setting's floors.

Where models compare texts, actors hold them; ROUGE-L alone is the work of plain tasks. A finished part is its own
marker, and says in its schema's metadata why a metric is null.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ecellm.config import EvaluateConfig
from ecellm.evaluation.answered import Answered, Row, read_answered, read_asked
from ecellm.evaluation.floors import PREFIX
from ecellm.evaluation.similarity.measures import Measure, absent_metrics, load_measures
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.evaluation.similarity_table import REASONS_KEY
from ecellm.schema import TEXT_SIMILARITY
from ecellm.storage import Storage
from ecellm.tasks import find_task

Shard = Mapping[str, Any]
_KEYS = ("sample_id", "example_id", "task", "split", "setting")


class SimilarityActor:
    """Holds the models, and computes one part after the other."""

    def __init__(self, *, config_json: str) -> None:
        """Load the models.

        Args:
            config_json: the job's config.
        """
        self._config = EvaluateConfig.model_validate_json(config_json)
        self._storage = Storage(self._config.storage)
        self._measures = load_measures(
            self._config, self._storage, device="cuda" if self._config.similarity_use_gpu else "cpu"
        )

    def __call__(self, shard: Shard) -> dict[str, Any]:
        """Compute and publish one part; see `compute_part`."""
        import torch

        if not self._config.similarity_use_gpu:
            # As many as the actor has CPUs. Their number is each thread's own, and an actor is called in another
            # thread than made it.
            torch.set_num_threads(1)
        return compute_part(shard, self._config, self._storage, self._measures)


def compute_without_models(shard: Shard, *, config_json: str) -> dict[str, Any]:
    """Compute and publish one part of a config that names no model."""
    config = EvaluateConfig.model_validate_json(config_json)
    storage = Storage(config.storage)
    return compute_part(shard, config, storage, load_measures(config, storage))


def compute_part(shard: Shard, config: EvaluateConfig, storage: Storage, measures: Sequence[Measure]) -> dict[str, Any]:
    """Compute and publish one part, unless it is there already.

    Args:
        shard: `path` of the part, `kind` (run or floors), `predictions` (files) and `samples` (files by split).
        config: the job's config.
        storage: access to all files.
        measures: what is computed.

    Returns:
        `rows` of the part.
    """
    if storage.exists(shard["path"]):
        return {"rows": 0}
    read = read_asked if shard["kind"] == "floors" else read_answered
    answered = read(storage, shard["predictions"], shard["samples"])
    answers = [(answered.run_id, answered)] if answered.samples else []
    if shard["kind"] == "floors":
        answers = list(_floors(answered, config.seed))
    rows = [row for run_id, each in answers for row in _rows(run_id, each)]
    pairs = [
        TextPair.of(response, sample["output"])
        for _, each in answers
        for sample, response in zip(each.samples, each.responses, strict=True)
    ]
    figures: dict[str, Sequence[float]] = {}
    for measure in measures:  # the floors of a setting together: their references are the same
        figures |= measure.score(pairs)
    for name, values in figures.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    reasons = json.dumps(absent_metrics(config)).encode()
    schema = TEXT_SIMILARITY.with_metadata({**TEXT_SIMILARITY.metadata, REASONS_KEY: reasons})
    storage.write_table(shard["path"], pa.Table.from_pylist(rows, schema=schema))
    return {"rows": len(rows)}


def _floors(answered: Answered, seed: int) -> Iterator[tuple[str, Answered]]:
    """Yield each trivial baseline's run_id and answers, split by split, as they are scored."""
    for part in answered.by_split():
        task = find_task(part.samples[0]["task"])
        assert task is not None, "only the tasks of this suite have trivial answers"
        for name, responses in task.trivial_answers(part.samples, seed).items():
            yield f"{PREFIX}{name}", Answered(part.samples, responses, {})


def _rows(run_id: str, answered: Answered) -> list[Row]:
    return [{"run_id": run_id} | {name: sample[name] for name in _KEYS} for sample in answered.samples]
