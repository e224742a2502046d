"""Scoring: seconds of a paper-sized evaluation on one core, and of the bootstrap against other ways to draw it.

    python -m tests.benchmarks.scoring_speed [--rows 1000] [--resamples 10000] [--profile]

It makes up samples and answers (about a tenth of them unreadable) for 25 tests of 1,000 rows, all ten tasks among
them, and prints two tables in Markdown:

    scoring      every metric in both flavours, slices, intervals and the scores table, as evaluate's shards compute
                 them, and the floors: seconds by task
    bootstrap    10,000 resamples of 1,000 rows: all metrics in both flavours; then the headline metric in one flavour
                 by a plain loop and by scipy.stats.bootstrap, with the ratio of their seconds to ours

Everything runs on one core and in this process. Seconds are of CPU time, which other work on the machine changes
little; imports are not counted.
"""

import argparse
import cProfile
import os
import pstats
import random
import sys
import time
from collections.abc import Callable
from typing import Any

if __name__ == "__main__":  # before NumPy is there
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import json
import tempfile

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.intervals import Bootstrap, Measured, metric_intervals
from ecellm.evaluation.score_shard import measure_floors, measure_run
from ecellm.evaluation.scored import Scored, score_answers
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.schema import SCORES
from ecellm.tasks import TASKS, Task
from ecellm.tasks.similarity_scorers import METRIC_NAMES
from tests.evaluation.joined_in_memory import JoinedInMemory, similarity_table

_IND, _OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"
_UNSEEN = "IND_Unseen_Instruction"
_WITH_OOD = ("AVE", "PRP", "SA", "SR", "AP")
_PLACES = [
    (task, setting) for task in TASKS for setting in (_IND, _UNSEEN, *([_OOD] if task.short_name in _WITH_OOD else []))
]
_LETTERS = {"PRP": "ABC", "SA": "ABCDE", "MPC": "ABCD", "SR": "ABCDEFGHIJKLMNOPQRST"}
_ATTRIBUTES = [f"attribute {number}" for number in range(80)]
_WORDS = ["steel", "red", "large", "cotton", "pack of 2", "usb", "blue", "12 inch"]
_GARBAGE = "I am sorry, I do not know."
Row = dict[str, Any]


def _labels(rng: random.Random) -> list[Row]:
    names = rng.sample(_ATTRIBUTES, rng.randint(1, 4))
    return [{"attribute": name, "value": rng.choice(_WORDS), "source": "product title"} for name in names]


def _example(task: Task, rng: random.Random) -> tuple[Row, str]:
    """Return the task's own columns of a sample, and an answer that is readable."""
    name = task.short_name
    if name in _LETTERS:
        return {"output": rng.choice(_LETTERS[name])}, rng.choice(_LETTERS[name])
    if name == "AVE":
        labels = _labels(rng)
        return {"output": json.dumps(labels)}, json.dumps(rng.sample(labels, 1) + _labels(rng))
    if name == "QPR":
        relevance = rng.sample("ESCI", rng.randint(2, 4))
        return {"output": "A", "relevance": relevance}, ",".join(rng.sample("ABCD"[: len(relevance)], len(relevance)))
    if name == "AG":
        return {"output": " ".join(rng.choices(_WORDS, k=20))}, " ".join(rng.choices(_WORDS, k=20))
    return {"output": rng.choice(["yes", "no"])}, rng.choice(["yes", "no", "Yes"])


def made_up(task: Task, setting: str, num_rows: int) -> tuple[Answered, SimilarityTable]:
    """Return samples with answers, a tenth of them unreadable, and figures of free text."""
    rng = random.Random(f"{task.name} {setting}")
    samples, responses = [], []
    for number in range(num_rows):
        own, answer = _example(task, rng)
        sample_id = f"{number:032x}"
        samples.append(
            {"sample_id": sample_id, "example_id": sample_id, "task": task.name, "split": "test", "setting": setting}
            | {"row_index": number, "input": "{}", "options": None, "relevance": None}
            | {"category": rng.choice(["Electronics", "Home_and_Kitchen", "Sports_and_Outdoors"])}
            | own
        )
        responses.append(_GARBAGE if rng.random() < 0.1 else answer)
    facts = {
        "num_prompt_tokens": [rng.randint(80, 900) for _ in samples],
        "was_shortened": [rng.random() < 0.05 for _ in samples],
        "finish_reason": [rng.choice(["stop", "stop", "stop", "length"]) for _ in samples],
    }
    run = {"run_id": "0123456789ab", "model": "made-up", "adapter": None, "decoding": "greedy"}
    figures = {}
    if task.short_name == "AG":
        run_ids = (run["run_id"], "floor-another-answer")
        figures = {
            (run_id, sample["sample_id"]): {name: rng.random() for name in METRIC_NAMES}
            for run_id in run_ids
            for sample in samples
        }
    return Answered(samples, responses, run, facts), similarity_table(figures)


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def _score(places: list[tuple[Answered, SimilarityTable]], bootstrap: Bootstrap) -> tuple[float, float]:
    """Return the seconds of runs and of floors."""
    of_runs = of_floors = 0.0
    for answered, similarity in places:
        joined = JoinedInMemory(answered)
        with tempfile.TemporaryFile() as file, pq.ParquetWriter(file, SCORES) as writer:
            of_runs += _seconds(measure_run, joined, "f" * 64, bootstrap, similarity, writer)
        for part in joined.by_split():
            of_floors += _seconds(measure_floors, part, {}, "f" * 64, bootstrap, similarity)
    return of_runs, of_floors


def _loop(scored: Scored, metric: str, num_resamples: int) -> None:
    """Draw one resample after the other: the plainest bootstrap."""
    rng = np.random.default_rng(1)
    num_rows = len(scored.statistics)
    values = [
        scored.scorer.metrics(scored.statistics[rng.integers(num_rows, size=num_rows)].sum(0))[metric]
        for _ in range(num_resamples)
    ]
    np.quantile(values, (0.025, 0.975))


def _scipy(scored: Scored, metric: str, num_resamples: int) -> None:
    def statistic(places: np.ndarray, axis: int) -> np.ndarray:
        return scored.scorer.metrics(scored.statistics[places].sum(axis if axis >= 0 else axis - 1))[metric]

    stats.bootstrap(
        (np.arange(len(scored.statistics)),),
        statistic,
        n_resamples=num_resamples,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(1),
    )


def _bootstrap_line(task: Task, num_rows: int, num_resamples: int) -> str:
    answered, similarity = made_up(task, _IND, num_rows)
    figures = similarity.of_answers(answered.run_id, answered.samples)
    scored = score_answers(task, answered.samples, answered.responses, figures)
    measured = [Measured(each.statistics, each.scorer.metrics) for each in scored]
    joined = np.hstack([each.statistics for each in measured])
    ours = min(_seconds(metric_intervals, measured, Bootstrap(num_resamples, 1)) for _ in range(3))
    others = [_seconds(way, scored[-1], task.headline_metric, num_resamples) for way in (_loop, _scipy)]
    num_kinds, num_metrics = len(np.unique(joined, axis=0)), sum(len(each.scorer.metric_names) for each in scored)
    return (
        f"| {task.short_name} | {num_kinds:,} | {num_metrics} | {ours:.3f} | "
        + " | ".join(f"{seconds:.2f} | {seconds / ours:.1f}" for seconds in others)
        + " |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000, help="rows of each test")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true", help="profile the scoring instead of timing it")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bootstrap = Bootstrap(arguments.resamples, 1)
    by_task = {
        task: [made_up(task, setting, arguments.rows) for other, setting in _PLACES if other is task] for task in TASKS
    }
    if arguments.profile:
        with cProfile.Profile() as profile:
            for places in by_task.values():
                _score(places, bootstrap)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    _score([made_up(task, _IND, 10) for task in TASKS], Bootstrap(10, 1))  # imports that wait for their first use
    lines = ["| task | tests | seconds, answers | seconds, floors |", "| --- | ---: | ---: | ---: |"]
    totals = np.zeros(2)
    for task, places in by_task.items():
        seconds = _score(places, bootstrap)
        totals += seconds
        lines.append(f"| {task.short_name} | {len(places)} | {seconds[0]:.2f} | {seconds[1]:.2f} |")
    lines += [
        f"| all | {len(_PLACES)} | {totals[0]:.2f} | {totals[1]:.2f} |",
        "",
        f"{len(_PLACES) * arguments.rows:,} answers: {totals[0]:.2f} s; with the floors {totals.sum():.2f} s",
        "",
        f"{arguments.resamples:,} resamples of {arguments.rows:,} rows",
        "",
        "| task | kinds of rows | metrics | seconds | loop, seconds | loop / ours | scipy, seconds | scipy / ours |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_bootstrap_line(task, arguments.rows, arguments.resamples) for task in TASKS),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
