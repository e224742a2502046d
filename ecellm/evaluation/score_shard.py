"""The parallel work of evaluate: plain functions of one shard each, run as Ray tasks.

A shard is one run's answers to one (setting, task). It gives `scores/data/part-{k}` and then `metrics/data/part-{k}`,
which is thus the marker that the shard is done. Shards of trivial baselines give metrics alone; shards of comparisons
return their row, a few numbers, which the report's task writes with the others.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from ecellm.config import StorageConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import Answered, Row, read_answered
from ecellm.evaluation.floors import floor_rows
from ecellm.evaluation.intervals import Bootstrap, paired_difference
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows, row_without_scorer
from ecellm.schema import METRICS, SCORES
from ecellm.storage import Storage, join
from ecellm.tasks import RELEASED, RowScore, Task, find_task

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
        return result | {"rows": _num_rows(storage, scores_path) if shard["kind"] == "run" else 0}
    answered = read_answered(storage, shard["predictions"], shard["samples"])
    if shard["kind"] == "comparison":
        baseline = read_answered(storage, shard["baseline"], shard["samples"])
        return result | {"comparisons": compare(answered, baseline, bootstrap)}
    if shard["kind"] == "floors":
        metrics = measure_floors(answered, samples_fingerprint, bootstrap)
    else:
        scores, metrics = score_answers(answered, samples_fingerprint, bootstrap)
        storage.write_table(scores_path, pa.Table.from_pylist(scores, schema=SCORES))
        result["rows"] = len(scores)
    storage.write_table(metrics_path, pa.Table.from_pylist(metrics, schema=METRICS))
    return result


def score_answers(
    answered: Answered, samples_fingerprint: str, bootstrap: Bootstrap
) -> tuple[list[Row], list[MetricRow]]:
    """Score one run's answers to one (setting, task).

    Returns:
        Rows of the scores table, and rows of the metrics table for each split. A task that is none of the ten has no
        scores, and one metrics row that says so.
    """
    score_rows: list[Row] = []
    metrics: list[MetricRow] = []
    for samples, responses in _by_split(answered):
        answers = _answers_of(samples[0], answered.run, samples_fingerprint)
        task = find_task(answers.task)
        if task is None:
            metrics.append(row_without_scorer(answers, len(samples)))
            continue
        scores = _scores(task, samples, responses)
        metrics += metric_rows(task, scores, answers, bootstrap)
        for sample, score in zip(samples, scores, strict=True):
            score_rows += _score_rows(answers.run_id, sample, score)
    return score_rows, metrics


def measure_floors(answered: Answered, samples_fingerprint: str, bootstrap: Bootstrap) -> list[MetricRow]:
    """Return the metrics of the trivial baselines on the samples that were answered."""
    rows: list[MetricRow] = []
    for samples, _ in _by_split(answered):
        answers = _answers_of(samples[0], answered.run, samples_fingerprint)
        task = find_task(answers.task)
        if task is not None:
            rows += floor_rows(task, samples, answers, bootstrap)
    return rows


def compare(run: Answered, baseline: Answered, bootstrap: Bootstrap) -> list[Row]:
    """Return a row of the comparisons table for each split: the headline metric on the rows that both answered."""
    if not run.samples or not baseline.samples:
        return []
    of_baseline = dict(zip((sample["sample_id"] for sample in baseline.samples), baseline.responses, strict=True))
    rows = []
    for samples, responses in _by_split(run):
        common = [pair for pair in zip(samples, responses, strict=True) if pair[0]["sample_id"] in of_baseline]
        task = find_task(samples[0]["task"])
        if task is None or not common:
            continue
        both = [sample for sample, _ in common]
        scores = _scores(task, both, [response for _, response in common])
        if task.headline_metric in task.unavailable(scores):
            continue
        others = _scores(task, both, [of_baseline[sample["sample_id"]] for sample in both])
        matrices = task.statistics(scores), task.statistics(others)
        difference, interval = paired_difference(*matrices, task.metrics, task.headline_metric, bootstrap)
        rows.append(
            {
                "run_id": run.run["run_id"],
                "baseline_run_id": baseline.run["run_id"],
                **{name: samples[0][name] for name in ("task", "split", "setting")},
                "flavour": RELEASED,
                "metric": task.headline_metric,
                "difference": difference,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "num_samples": len(both),
            }
        )
    return rows


def _scores(task: Task, samples: Sequence[Row], responses: Sequence[str]) -> list[RowScore]:
    return [task.score(sample, response) for sample, response in zip(samples, responses, strict=True)]


def _score_rows(run_id: str, sample: Row, score: RowScore) -> list[Row]:
    """Return the long form: one row for each component."""
    keys = ("sample_id", "example_id", "task", "split", "setting", "row_index")
    row = {name: sample[name] for name in keys} | {
        "run_id": run_id,
        "flavour": RELEASED,
        "parsed": score.parsed,
        "is_valid": score.is_valid,
        "reference": score.reference,
    }
    return [row | {"component": name, "value": value} for name, value in score.components.items()]


def _by_split(answered: Answered) -> list[tuple[list[Row], list[str]]]:
    """Group samples and responses, which are sorted by split; nearly always there is one group."""
    pairs = zip(answered.samples, answered.responses, strict=True)
    groups = [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0]["split"])]
    return [([sample for sample, _ in group], [response for _, response in group]) for group in groups]


def _answers_of(sample: Row, run: Mapping[str, str | None], samples_fingerprint: str) -> Answers:
    return Answers(
        run_id=str(run["run_id"]),
        model=model_name(run),
        decoding=run["decoding"],
        role="ours",
        task=sample["task"],
        split=sample["split"],
        setting=sample["setting"],
        samples_fingerprint=samples_fingerprint,
    )


def model_name(run: Mapping[str, str | None]) -> str:
    """Return model and adapter as one name."""
    return f"{run['model']} + {run['adapter']}" if run["adapter"] else str(run["model"])


def _num_rows(storage: Storage, path: str) -> int:
    with storage.parquet_file(path) as file:
        return int(file.metadata.num_rows)
