"""Rows of the metrics table: names, flavours, intervals, reasons; and the floors among them."""

import pyarrow as pa
import pytest

from ecellm.evaluation.floors import best_floors, floor_rows, of_flavour
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, metric_rows, rows_without_scorer
from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.scored_rows import tallies_of
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.schema import METRICS
from ecellm.tasks import RELEASED, STRICT, TASKS, task_named
from tests.evaluation.joined_in_memory import similarity_table

BOOTSTRAP = Bootstrap(200, 1)
BINARY_METRICS = ["acc", "recall", "precision", "f1", "specificity", "npr"]


def answers(task):
    return Answers("abc", "tiny", "greedy", "ours", task, "test", "IND_Diverse_Instruction", "f" * 64)


def rows_of(name, samples, responses, bootstrap=BOOTSTRAP):
    task = task_named(name)
    return metric_rows(task, tallies_of(score_answers(task, samples, responses)), answers(task.name), bootstrap)


def test_every_metric_has_a_row_in_both_flavours_and_one_each_is_the_headline():
    rows = rows_of("PM", [{"output": "yes"}] * 4, ["yes", "yes", "no", "?"])
    assert [(row["flavour"], row["metric"]) for row in rows] == [
        (flavour, name) for flavour in (RELEASED, STRICT) for name in BINARY_METRICS
    ]
    assert [(row["flavour"], row["metric"]) for row in rows if row["is_headline"]] == [(RELEASED, "f1"), (STRICT, "f1")]
    by_name = {(row["flavour"], row["metric"]): row for row in rows}
    assert by_name[RELEASED, "acc"]["value"] == pytest.approx(2 / 3)
    assert by_name[STRICT, "acc"]["value"] == pytest.approx(2 / 4)
    assert by_name[STRICT, "acc"]["ci_low"] <= 2 / 4 <= by_name[STRICT, "acc"]["ci_high"]
    assert {(row["num_samples"], row["num_invalid"], row["reason"], row["slice_name"]) for row in rows} == {
        (4, 1, None, None)
    }
    assert pa.Table.from_pylist(rows, schema=METRICS).num_rows == 12


def test_each_flavour_counts_its_own_invalid_answers():
    rows = rows_of("PM", [{"output": "yes"}] * 3, ["yes.", "Yes", "?"])
    assert {(row["flavour"], row["num_invalid"]) for row in rows} == {(RELEASED, 2), (STRICT, 1)}


def test_an_absent_figure_is_null_with_a_reason():
    rows = rows_of("AG", [{"output": "x"}], ["y"])
    assert len(rows) == 10
    assert all(row["value"] is row["ci_low"] is None and row["reason"] for row in rows)


def test_a_task_of_ones_own_has_one_row_per_flavour_that_says_so():
    rows = rows_without_scorer(answers("Ticket_Routing"), 7)
    assert [row["flavour"] for row in rows] == [RELEASED, STRICT]
    for row in rows:
        assert (row["metric"], row["value"], row["num_samples"], row["is_headline"]) == ("none", None, 7, True)
        assert row["reason"] == "no scorer for task 'Ticket_Routing'"


def test_without_resamples_there_are_values_and_no_intervals():
    for row in rows_of("SR", [{"output": "A"}], ["A"], Bootstrap(0, 1)):
        assert (row["value"], row["ci_low"], row["ci_high"]) == (1.0, None, None)


def floors_of(name, samples, similarity=None):
    task = task_named(name)
    return floor_rows(task, samples, {}, answers(task.name), BOOTSTRAP, similarity=similarity or SimilarityTable())


@pytest.mark.parametrize("flavour", [RELEASED, STRICT])
def test_the_best_floor_is_the_one_with_the_highest_headline_of_its_flavour(flavour):
    rows = floors_of("PM", [{"output": "yes"}] * 3 + [{"output": "no"}] * 7)
    assert {row["run_id"] for row in rows} == {"floor-always-yes", "floor-majority", "floor-random-choice"}
    assert {(row["role"], row["decoding"]) for row in rows} == {("floor", None)}
    own = of_flavour(rows, flavour)
    (best,) = best_floors(own).values()
    assert (best["metric"], best["flavour"]) == ("f1", flavour)
    assert best["value"] == max(row["value"] for row in own if row["metric"] == "f1") >= 2 * 3 / 13


def test_rows_of_slices_are_not_among_those_of_a_flavour():
    rows = floors_of("PM", [{"output": "yes"}])
    sliced = [row | {"slice_name": "reference", "slice_value": "yes", "run_id": "sliced"} for row in rows]
    assert {row["run_id"] for row in of_flavour(rows + sliced, STRICT)} == {row["run_id"] for row in rows}


def test_floors_of_free_text_take_their_own_similarity():
    samples = [{"output": text, "sample_id": text} for text in ("red", "blue")]
    figures = {("floor-another-answer", text): {"rouge_l": 0.25, "bleurt": None} for text in ("red", "blue")}
    rows = floors_of("AG", samples, similarity_table(figures | {("abc", "red"): {"rouge_l": 1.0}}))
    values = {row["metric"]: row["value"] for row in of_flavour(rows, RELEASED)}
    assert (values["rouge_l"], values["bleurt"]) == (0.25, None)


def test_every_task_has_floors_scored_in_both_flavours():
    for task in TASKS:
        sample = {"output": "yes", "options": None, "input": "", "relevance": ["E"], "setting": "IND", "sample_id": "s"}
        rows = floors_of(task.name, [sample, sample])
        assert {row["flavour"] for row in rows} == {RELEASED, STRICT}, task.name
