"""The parallel work of evaluate: plain functions of one shard each, run as Ray tasks.

A shard is one run's answers to one (setting, task). It gives `scores/data/part-{k}` and then `metrics/data/part-{k}`,
which is thus the marker that the shard is done. Shards of trivial baselines give metrics alone; shards of comparisons
return their row, a few numbers, which the report's task writes with the others.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ecellm.config import StorageConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import Answered, num_rows, read_answered, read_asked
from ecellm.evaluation.comparisons import compare
from ecellm.evaluation.floors import floor_rows
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows, rows_without_scorer
from ecellm.evaluation.score_table import score_table
from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.similarity_table import SimilarityTable, read_similarity
from ecellm.evaluation.slices import slice_rows
from ecellm.schema import METRICS, SCORES
from ecellm.storage import Storage, join
from ecellm.tasks import find_task

Shard = Mapping[str, Any]


def evaluate_shard(
    shard: Shard,
    *,
    output_dir: str,
    samples_fingerprint: str,
    storage_config: Mapping[str, Any],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Do one shard, unless its part is there already.

    Args:
        shard: `kind` (run, floors or comparison), `number`, `setting`, `task`, `predictions` (files) and
            `samples` (files by split); a comparison also has `baseline` (files).
        output_dir: evaluate's output.
        samples_fingerprint: of the samples that were answered.
        storage_config: how to reach all of these.
        num_resamples: bootstrap resamples; 0 = no intervals.
        seed: of the bootstrap and of random answers.

    Returns:
        `kind`, `rows` (rows of the scores table) and `comparisons` (rows of that table).
    """
    storage, bootstrap = Storage(StorageConfig(**storage_config)), Bootstrap(num_resamples, seed)
    metrics_path = join(output_dir, "metrics", "data", part_name(shard["number"]))
    scores_path = join(output_dir, "scores", "data", part_name(shard["number"]))
    result: dict[str, Any] = {"kind": shard["kind"], "rows": 0, "comparisons": []}
    if shard["kind"] != "comparison" and storage.exists(metrics_path):
        return result | {"rows": num_rows(storage, scores_path) if shard["kind"] == "run" else 0}
    read = read_asked if shard["kind"] == "floors" else read_answered
    answered = read(storage, shard["predictions"], shard["samples"])
    similarity = read_similarity(storage, output_dir, find_task(shard["task"]))
    if shard["kind"] == "comparison":
        baseline = read_answered(storage, shard["baseline"], shard["samples"])
        return result | {"comparisons": compare(answered, baseline, bootstrap, similarity)}
    if shard["kind"] == "floors":
        metrics = measure_floors(answered, samples_fingerprint, bootstrap, similarity)
    else:
        scores, metrics = measure_run(answered, samples_fingerprint, bootstrap, similarity)
        storage.write_table(scores_path, scores)
        result["rows"] = scores.num_rows
    storage.write_table(metrics_path, pa.Table.from_pylist(metrics, schema=METRICS))
    return result


def measure_run(
    answered: Answered, samples_fingerprint: str, bootstrap: Bootstrap, similarity: SimilarityTable
) -> tuple[pa.Table, list[MetricRow]]:
    """Score one run's answers to one (setting, task), in every flavour.

    Returns:
        The scores table, and rows of the metrics table for each split: of all rows, then of slices. A task that is
        none of the ten has no scores, and metrics rows that say so.
    """
    tables: list[pa.Table] = [SCORES.empty_table()]
    metrics: list[MetricRow] = []
    for part in answered.by_split():
        answers = _answers_of(part, samples_fingerprint)
        task = find_task(answers.task)
        if task is None:
            metrics += rows_without_scorer(answers, len(part.samples))
            continue
        figures = similarity.of_answers(answers.run_id, part.samples)
        scored = score_answers(task, part.samples, part.responses, figures)
        tables.append(score_table(answers.run_id, part.samples, scored))
        metrics += metric_rows(task, scored, answers, bootstrap)
        metrics += slice_rows(task, part, scored, answers, bootstrap)
    return pa.concat_tables(tables).unify_dictionaries(), metrics


def measure_floors(
    answered: Answered, samples_fingerprint: str, bootstrap: Bootstrap, similarity: SimilarityTable
) -> list[MetricRow]:
    """Return the metrics of the trivial baselines on the samples that were answered."""
    rows: list[MetricRow] = []
    for part in answered.by_split():
        answers = _answers_of(part, samples_fingerprint)
        task = find_task(answers.task)
        if task is not None:
            rows += floor_rows(task, part.samples, answers, bootstrap, similarity)
    return rows


def _answers_of(answered: Answered, samples_fingerprint: str) -> Answers:
    first = answered.samples[0]
    return Answers(
        run_id=answered.run_id,
        model=model_name(answered.run),
        decoding=answered.run["decoding"],
        role="ours",
        task=first["task"],
        split=first["split"],
        setting=first["setting"],
        samples_fingerprint=samples_fingerprint,
    )


def model_name(run: Mapping[str, str | None]) -> str:
    """Return model and adapter as one name."""
    return f"{run['model']} + {run['adapter']}" if run["adapter"] else str(run["model"])
