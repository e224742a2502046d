"""Rows of the metrics table: names, intervals, reasons."""

import pyarrow as pa
import pytest

from ecellm.evaluation.floors import best_floors, floor_rows
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, metric_rows, row_without_scorer
from ecellm.schema import METRICS
from ecellm.tasks import task_named

BOOTSTRAP = Bootstrap(200, 1)


def answers(task):
    return Answers("abc", "tiny", "greedy", "ours", task, "test", "IND_Diverse_Instruction", "f" * 64)


def test_every_metric_has_a_row_and_one_is_the_headline():
    task = task_named("PM")
    scores = [task.score({"output": "yes"}, answer) for answer in ["yes", "yes", "no", "?"]]
    rows = metric_rows(task, scores, answers(task.name), BOOTSTRAP)
    assert [row["metric"] for row in rows] == ["acc", "recall", "precision", "f1", "specificity", "npr"]
    assert [row["metric"] for row in rows if row["is_headline"]] == ["f1"]
    by_name = {row["metric"]: row for row in rows}
    assert by_name["acc"]["value"] == pytest.approx(2 / 3)
    assert by_name["acc"]["ci_low"] <= 2 / 3 <= by_name["acc"]["ci_high"]
    assert {(row["num_samples"], row["num_invalid"], row["reason"]) for row in rows} == {(4, 1, None)}
    assert pa.Table.from_pylist(rows, schema=METRICS).num_rows == 6


def test_an_absent_figure_is_null_with_a_reason():
    task = task_named("AG")
    rows = metric_rows(task, [task.score({"output": "x"}, "y")], answers(task.name), BOOTSTRAP)
    assert len(rows) == 5
    assert all(row["value"] is row["ci_low"] is None and row["reason"] for row in rows)


def test_a_task_of_ones_own_has_one_row_that_says_so():
    row = row_without_scorer(answers("Ticket_Routing"), 7)
    assert (row["metric"], row["value"], row["num_samples"]) == ("none", None, 7)
    assert row["reason"] == "no scorer for task 'Ticket_Routing'"


def test_without_resamples_there_are_values_and_no_intervals():
    task = task_named("SR")
    (row,) = metric_rows(task, [task.score({"output": "A"}, "A")], answers(task.name), Bootstrap(0, 1))
    assert (row["value"], row["ci_low"], row["ci_high"]) == (1.0, None, None)


def test_the_best_floor_is_the_one_with_the_highest_headline():
    samples = [{"output": "yes"}] * 3 + [{"output": "no"}] * 7
    rows = floor_rows(task_named("PM"), samples, answers("Product_Matching"), BOOTSTRAP)
    assert {row["run_id"] for row in rows} == {"floor-always-yes", "floor-majority", "floor-random-choice"}
    assert {(row["role"], row["decoding"]) for row in rows} == {("floor", None)}
    (best,) = best_floors(rows).values()
    assert best["metric"] == "f1"
    assert best["value"] == max(row["value"] for row in rows if row["metric"] == "f1") >= 2 * 3 / 13
