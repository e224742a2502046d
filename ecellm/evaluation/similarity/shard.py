"""The parallel work of text similarity: one part of one run's answers in one setting, or of a setting's floors.

Where models compare texts, actors hold them; ROUGE-L alone is the work of plain tasks. A finished part is its own
marker, and says in its schema's metadata why a metric is null.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ecellm.config import EvaluateConfig
from ecellm.evaluation.answered import Row
from ecellm.evaluation.classical_floors import read_classical_floors
from ecellm.evaluation.floors import PREFIX, blocks_of, floor_responses
from ecellm.evaluation.joined import Joined, Questions, join_answered, join_asked
from ecellm.evaluation.similarity.measures import Measure, absent_metrics, load_measures
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.evaluation.similarity_table import REASONS_KEY
from ecellm.schema import TEXT_SIMILARITY
from ecellm.storage import Storage, absolute
from ecellm.tasks import Sample, find_task

Shard = Mapping[str, Any]
# Run, sample and response of each answer.
Answers = list[tuple[str, Sample, str]]
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
    """Compute and publish one part, block by block, unless it is there already.

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
    join_of = join_asked if shard["kind"] == "floors" else join_answered
    joined = join_of(storage, shard["predictions"], shard["samples"])
    reasons = json.dumps(absent_metrics(config)).encode()
    schema = TEXT_SIMILARITY.with_metadata({**TEXT_SIMILARITY.metadata, REASONS_KEY: reasons})
    num_rows = 0
    with storage.table_writer(shard["path"], schema) as writer:
        for part in [] if joined is None else joined.by_split():
            blocks = _floors(part, config, storage) if shard["kind"] == "floors" else _answers(part)
            for answers in blocks:
                rows = _rows(answers, measures)
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                num_rows += len(rows)
    return {"rows": num_rows}


def _answers(part: Joined) -> Iterator[Answers]:
    """Yield a run's answers, block by block."""
    for block in part.blocks():
        yield [(block.run_id, *pair) for pair in zip(block.samples, block.responses, strict=True)]


def _floors(part: Joined, config: EvaluateConfig, storage: Storage) -> Iterator[Answers]:
    """Yield the answers of all floors to a split, block by block, as they are scored.

    Those to a block come together: their references are the same.
    """
    samples = Questions(part)
    first = next(iter(samples))
    task = find_task(first["task"])
    assert task is not None, "only the tasks of this suite have floors"
    classical = read_classical_floors(storage, absolute(config.output_dir), first)
    responses = floor_responses(task, samples, config.seed, classical)
    start = 0
    for block in blocks_of(samples):
        yield [
            (f"{PREFIX}{name}", sample, response)
            for name, own in responses.items()
            for sample, response in zip(block, own[start : start + len(block)], strict=True)
        ]
        start += len(block)


def _rows(answers: Answers, measures: Sequence[Measure]) -> list[Row]:
    """Return rows of the table with the figures of all measures."""
    rows = [{"run_id": run_id} | {name: sample[name] for name in _KEYS} for run_id, sample, _ in answers]
    pairs = [TextPair.of(response, sample["output"]) for _, sample, response in answers]
    for measure in measures:
        for name, values in measure.score(pairs).items():
            for row, value in zip(rows, values, strict=True):
                row[name] = value
    return rows
