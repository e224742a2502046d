"""Rows of the comparisons table: which rows are compared, in which flavour, and how p-values are adjusted."""

import pyarrow as pa
import pytest

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.comparisons import adjusted
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.score_shard import Side, compare_runs
from ecellm.evaluation.similarity_table import SimilarityTable
from ecellm.schema import COMPARISONS
from ecellm.tasks import RELEASED, STRICT, task_named
from tests.evaluation.joined_in_memory import JoinedInMemory, similarity_table

BOOTSTRAP, NO_SIMILARITY = Bootstrap(500, 1), SimilarityTable()


def answered(run_id, name, outputs, responses, **columns):
    setting = "IND_Diverse_Instruction"
    place = {"task": task_named(name).name, "setting": setting, "split": "test", "input": "", "relevance": None}
    samples = [place | {"sample_id": f"s{number}", "output": output} for number, output in enumerate(outputs)]
    samples = [
        sample | {key: values[number] for key, values in columns.items()} for number, sample in enumerate(samples)
    ]
    return Answered(samples, responses, {"run_id": run_id})


def compare(run, baseline, similarity=NO_SIMILARITY):
    """Compare runs, of which a few rows are read at a time."""
    return compare_runs(*(Side(JoinedInMemory(side, block_rows=7), similarity) for side in (run, baseline)), BOOTSTRAP)


def test_both_flavours_compare_the_same_rows():
    references = ["yes", "no"] * 20
    run = answered("new", "PM", references, [*references[:-4], "?", "?", "?", "?"])
    baseline = answered("old", "PM", references, ["yes"] * 40)
    released, strict = compare(run, baseline)
    assert (released["flavour"], strict["flavour"]) == (RELEASED, STRICT)
    assert (released["value"], released["baseline_value"]) == pytest.approx((1.0, 2 / 3))
    assert strict["value"] == pytest.approx(2 * 18 / (20 + 18))
    for row in (released, strict):
        assert row["difference"] == pytest.approx(row["value"] - row["baseline_value"])
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
        assert (row["run_id"], row["baseline_run_id"], row["metric"], row["num_samples"]) == ("new", "old", "f1", 40)
        assert row["p_value"] < 0.05
    rows = adjusted([released, strict])
    assert [row["p_adjusted"] for row in rows] == [row["p_value"] for row in rows]  # one test in each flavour
    assert pa.Table.from_pylist(rows, schema=COMPARISONS).num_rows == 2


def test_rows_are_paired_by_sample_and_each_split_is_compared_by_itself():
    run = answered("new", "SR", "AABBC", ["A", "A", "B", "B", "?"], split=["test", "test", "test", "val", "val"])
    baseline = answered("old", "SR", "AABB", ["A", "B", "B", "A"], split=["test", "test", "test", "val"])
    baseline = Answered(*([side[2], side[0], side[3]] for side in (baseline.samples, baseline.responses)), baseline.run)
    rows = compare(run, baseline)
    found = {(row["flavour"], row["split"]): (row["num_samples"], row["difference"]) for row in rows}
    assert found == {
        (RELEASED, "test"): (2, 0.0),
        (STRICT, "test"): (2, 0.0),
        (RELEASED, "val"): (1, 1.0),
        (STRICT, "val"): (1, 1.0),
    }


def test_what_has_no_figure_is_not_compared():
    run, baseline = (answered(name, "AG", ["x", "y"], ["a", "b"]) for name in ("new", "old"))
    assert compare(run, baseline) == []
    assert compare(run, answered("old", "AG", [], [])) == []
    figures = {(name, f"s{place}"): {"bertscore_f1": 0.5} for name in ("new", "old") for place in (0, 1)}
    rows = compare(run, baseline, similarity_table(figures | {("new", "s1"): {"bertscore_f1": 0.9}}))
    assert [row["difference"] for row in rows] == pytest.approx([0.2, 0.2])
    own = answered("new", "AG", ["x"], ["a"], task=["Ticket_Routing"])
    assert compare(own, own) == []


def comparison(p_value, **fields):
    row = {"run_id": "b", "baseline_run_id": "a", "task": "t", "split": "test", "setting": "s", "flavour": STRICT}
    return row | {"p_value": p_value} | fields


def test_p_values_are_adjusted_within_a_pair_of_runs_and_a_flavour():
    rows = [comparison(0.01, task="t2"), comparison(0.04, task="t1"), comparison(0.03, task="t3")]
    rows += [comparison(0.02, flavour=RELEASED), comparison(0.01, run_id="c")]
    found = {(row["run_id"], row["flavour"], row["task"]): row["p_adjusted"] for row in adjusted(rows)}
    assert found == pytest.approx(
        {
            ("b", STRICT, "t1"): 0.06,
            ("b", STRICT, "t2"): 0.03,
            ("b", STRICT, "t3"): 0.06,
            ("b", RELEASED, "t"): 0.02,
            ("c", STRICT, "t"): 0.01,
        }
    )
    assert adjusted(rows) == adjusted(rows[::-1])
