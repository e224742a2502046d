"""The parallel work of evaluate: plain functions of one shard each, run as Ray tasks.

A shard is one run's answers to one (setting, task), which are read, scored and written block by block. It gives
`scores/data/part-{k}` and then `metrics/data/part-{k}`, which is thus the marker that the shard is done. Shards of
floors give metrics alone; shards of comparisons return their row, a few numbers, which the report's task
writes with the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ecellm.config import StorageConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import Answered, Row, num_rows
from ecellm.evaluation.classical_floors import read_classical_floors
from ecellm.evaluation.comparisons import Compared, compare
from ecellm.evaluation.floors import floor_rows
from ecellm.evaluation.headline import OUR_ROLE
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.joined import Joined, Questions, join_answered, join_asked
from ecellm.evaluation.metric_rows import Answers, MetricRow, metric_rows, rows_without_scorer
from ecellm.evaluation.score_table import score_table
from ecellm.evaluation.scored import Scored, score_answers
from ecellm.evaluation.scored_rows import ScoredRows
from ecellm.evaluation.similarity_table import SimilarityTable, read_similarity
from ecellm.evaluation.slices import add_block, slice_rows
from ecellm.schema import METRICS, SCORES
from ecellm.storage import Storage, join
from ecellm.tasks import Task, find_task

Shard = Mapping[str, Any]


class Side(NamedTuple):
    """One side of a comparison: answers to one (setting, task), None if there are none, and figures of free text."""

    joined: Joined | None
    similarity: SimilarityTable


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
            `samples` (files by split); a run also has its `role`, a comparison `baseline` (files).
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
    join_of = join_asked if shard["kind"] == "floors" else join_answered
    joined = join_of(storage, shard["predictions"], shard["samples"])
    similarity = read_similarity(storage, output_dir, find_task(shard["task"]), shard["setting"])
    if shard["kind"] == "comparison":
        baseline = join_answered(storage, shard["baseline"], shard["samples"])
        sides = Side(joined, similarity), Side(baseline, similarity)
        return result | {"comparisons": compare_runs(*sides, bootstrap)}
    if shard["kind"] == "floors":
        metrics = []
        for part in _parts(joined):
            classical = read_classical_floors(storage, output_dir, _place_of(part))
            metrics += measure_floors(part, classical, samples_fingerprint, bootstrap, similarity)
    else:
        with storage.table_writer(scores_path, SCORES) as writer:
            role = shard["role"]
            metrics, result["rows"] = measure_run(joined, samples_fingerprint, bootstrap, similarity, writer, role=role)
    storage.write_table(metrics_path, pa.Table.from_pylist(metrics, schema=METRICS))
    return result


def measure_run(
    joined: Joined | None,
    samples_fingerprint: str,
    bootstrap: Bootstrap,
    similarity: SimilarityTable,
    writer: pq.ParquetWriter,
    *,
    role: str = OUR_ROLE,
) -> tuple[list[MetricRow], int]:
    """Score one run's answers to one (setting, task), in every flavour.

    Args:
        joined: the answers; None if there are none.
        samples_fingerprint: of the samples.
        bootstrap: how intervals are drawn.
        similarity: figures of free text.
        writer: takes the scores table.
        role: of the run, as in the metrics table.

    Returns:
        Rows of the metrics table for each split: of all rows, then of slices; and the number of rows of the scores
        table. A task that is none of the ten has no scores, and metrics rows that say so.
    """
    metrics: list[MetricRow] = []
    num_scores = 0
    for part in _parts(joined):
        answers = _answers_of(part, samples_fingerprint, role)
        task = find_task(answers.task)
        if task is None:
            metrics += rows_without_scorer(answers, len(part))
            continue
        rows = ScoredRows()
        for block in part.blocks():
            scored = score_block(task, block, similarity)
            table = score_table(answers.run_id, block.samples, scored)
            writer.write_table(table)
            num_scores += table.num_rows
            add_block(rows, task, block, scored)
        metrics += metric_rows(task, rows.tallies(), answers, bootstrap)
        metrics += slice_rows(task, rows, answers, bootstrap)
    return metrics, num_scores


def measure_floors(
    part: Joined,
    classical: Mapping[str, Sequence[str]],
    samples_fingerprint: str,
    bootstrap: Bootstrap,
    similarity: SimilarityTable,
) -> list[MetricRow]:
    """Return the metrics of the floors on the samples of a split that were asked; none of a task of the users' own."""
    answers = _answers_of(part, samples_fingerprint)
    task = find_task(answers.task)
    return (
        [] if task is None else floor_rows(task, Questions(part), classical, answers, bootstrap, similarity=similarity)
    )


def compare_runs(run: Side, baseline: Side, bootstrap: Bootstrap, id_column: str = "sample_id") -> list[Row]:
    """Return the rows of the comparisons table for one task, for each split that both runs answered.

    Args:
        run: the run.
        baseline: what it is compared with.
        bootstrap: how many resamples, at least 1, and their seed.
        id_column: what pairs the answers: `example_id` where the two answered in different settings.
    """
    theirs = {part.splits[0][0]: part for part in _parts(baseline.joined)}
    rows: list[Row] = []
    for part in _parts(run.joined):
        split = part.splits[0][0]
        task = find_task(_place_of(part)["task"])
        if task is not None and split in theirs:
            ours = _compared(task, part, run.similarity, id_column)
            rows += compare(ours, _compared(task, theirs[split], baseline.similarity, id_column), bootstrap)
    return rows


def _compared(task: Task, part: Joined, similarity: SimilarityTable, id_column: str) -> Compared:
    rows = ScoredRows()
    for block in part.blocks():
        ids = [str(sample[id_column]) for sample in block.samples]
        rows.add(score_block(task, block, similarity), {}, ids)
    return Compared(task, str(part.run["run_id"]), _place_of(part), rows)


def score_block(task: Task, block: Answered, similarity: SimilarityTable) -> list[Scored]:
    """Score a block of answers in every flavour."""
    return score_answers(task, block.samples, block.responses, similarity.of_answers(block.run_id, block.samples))


def _parts(joined: Joined | None) -> list[Joined]:
    return [] if joined is None else joined.by_split()


def _place_of(part: Joined) -> dict[str, str]:
    first = next(part.samples())
    return {name: first[name] for name in ("task", "split", "setting")}


def _answers_of(part: Joined, samples_fingerprint: str, role: str = OUR_ROLE) -> Answers:
    return Answers(
        run_id=str(part.run["run_id"]),
        model=model_name(part.run),
        decoding=part.run["decoding"],
        role=role,
        **_place_of(part),
        samples_fingerprint=samples_fingerprint,
    )


def model_name(run: Mapping[str, str | None]) -> str:
    """Return model and adapter as one name."""
    return f"{run['model']} + {run['adapter']}" if run["adapter"] else str(run["model"])
