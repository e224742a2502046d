"""Slices of the metrics: what the rows are cut by, and that the parts are those of the whole."""

import json
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers
from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.scored_rows import ScoredRows
from ecellm.evaluation.slices import OTHER, add_block, quartile_bins, slice_rows
from ecellm.schema import METRICS
from ecellm.tasks import RELEASED, STRICT, task_named

IND = "IND_Diverse_Instruction"
BOOTSTRAP = Bootstrap(50, 1)


def slices_of(name, samples, responses, bootstrap=BOOTSTRAP, **facts):
    task = task_named(name)
    fixed = {"setting": IND, "task": task.name, "split": "test", "input": "", "options": None, "relevance": None}
    samples = [fixed | {"sample_id": str(number)} | sample for number, sample in enumerate(samples)]
    answers = Answers("abc", "tiny", "greedy", "ours", task.name, "test", IND, "f" * 64)
    answered = Answered(samples, responses, {"run_id": "abc"}, facts)
    scored = ScoredRows()
    add_block(scored, task, answered, score_answers(task, samples, responses))
    rows = slice_rows(task, scored, answers, bootstrap)
    assert pa.Table.from_pylist(rows, schema=METRICS).num_rows == len(rows)
    return rows


def values_of(rows, slice_name, metric, flavour=STRICT):
    return {
        row["slice_value"]: row["value"]
        for row in rows
        if (row["slice_name"], row["metric"], row["flavour"]) == (slice_name, metric, flavour)
    }


def test_categories_and_facts_cut_the_rows_in_both_flavours():
    categories = ["Sports", "Sports", "Tools", None, "Tools"]
    samples = [{"output": "A", "category": category} for category in categories]
    rows = slices_of(
        "SR",
        samples,
        ["A", "B", "A", "A", "?"],
        was_shortened=[False, False, False, True, True],
        finish_reason=["stop"] * 5,
        num_prompt_tokens=[7] * 5,
    )
    assert {row["slice_name"] for row in rows} == {"category", "was_shortened"}  # the others have one value each
    assert values_of(rows, "category", "recall@1") == {"Sports": 0.5, "Tools": 0.5}
    assert values_of(rows, "category", "recall@1", RELEASED) == {"Sports": 0.5, "Tools": 1.0}
    assert values_of(rows, "was_shortened", "recall@1") == {"false": 2 / 3, "true": 0.5}
    assert not any(row["is_headline"] for row in rows)
    counts = {(row["slice_value"], row["num_samples"], row["num_invalid"]) for row in rows}
    assert {("Sports", 2, 0), ("Tools", 2, 1), ("false", 3, 0), ("true", 2, 1)} == counts
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)


def test_references_show_whether_a_model_prefers_a_place():
    rows = slices_of("SR", [{"output": letter} for letter in "AABBT"], ["A"] * 5)
    assert values_of(rows, "reference", "recall@1") == {"A": 1.0, "B": 0.0, "T": 0.0}
    yes_or_no = slices_of("PM", [{"output": text} for text in ("yes", "no", "no")], ["yes", "no", "yes"])
    assert values_of(yes_or_no, "reference", "acc") == {"no": 0.5, "yes": 1.0}
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in yes_or_no)


def test_rankings_are_cut_by_the_number_of_candidates():
    samples = [{"output": "", "relevance": labels} for labels in (["E", "S"], ["E", "S", "C"], ["S", "E", "I"])]
    rows = slices_of("QPR", samples, ["A,B", "A,B,C", "B,A,C"])
    assert values_of(rows, "num_candidates", "ndcg") == {"2": 1.0, "3": 1.0}
    assert "reference" not in {row["slice_name"] for row in rows}


def test_a_missing_label_spoils_only_its_own_slice():
    samples = [
        {"output": "", "relevance": labels, "category": name} for labels, name in ((["E", "S"], "x"), (None, "y"))
    ]
    rows = slices_of("QPR", samples, ["A,B", "A,B"])
    assert values_of(rows, "category", "ndcg") == {"x": 1.0, "y": None}
    assert all((row["reason"] is None) == (row["value"] is not None) for row in rows)
    assert all(row["ci_low"] is None for row in rows if row["value"] is None)


def label(attribute, value):
    return {"attribute": attribute, "value": value, "source": "product title"}


def test_extraction_is_cut_by_attribute_in_the_strict_flavour():
    samples = [
        {"output": json.dumps([label("color", "red"), label("size", "xl")])},
        {"output": json.dumps([label("color", "blue")])},
    ]
    responses = [json.dumps([label("color", "red"), label("size", "s")]), json.dumps([label("color", "green")])]
    rows = [row for row in slices_of("AVE", samples, responses) if row["slice_name"] == "attribute"]
    assert {row["flavour"] for row in rows} == {STRICT}
    assert values_of(rows, "attribute", "recall") == {"color": 0.5, "size": 0.0}
    assert {(row["slice_value"], row["num_samples"]) for row in rows} == {("color", 2), ("size", 1)}


def test_rare_values_share_a_slice():
    samples = [{"output": "A", "category": f"c{number:02d}"} for number in range(60) for _ in range(2 if number else 1)]
    rows = slices_of("SR", samples, ["A"] * len(samples), Bootstrap(0, 1))
    counts = {row["slice_value"]: row["num_samples"] for row in rows if row["flavour"] == STRICT}
    assert len(counts) == 51
    assert list(counts)[-1] == OTHER
    assert counts[OTHER] == 9 * 2 + 1
    assert "c00" not in counts


def test_slices_are_in_reading_order():
    samples = [{"output": "A"}] * 8
    tokens = [1000, 1001, 90, 91, 200, 201, 5, 6]
    rows = slices_of("SR", samples, ["A"] * 8, num_prompt_tokens=tokens)
    assert list(values_of(rows, "prompt_tokens", "recall@1")) == ["5-6", "90-91", "200-201", "1000-1001"]


def test_few_resamples_are_not_made_more():
    samples = [{"output": letter} for letter in "AB" * 40]
    one = slices_of("SR", samples, ["A", "B", "C", "B"] * 20, Bootstrap(1000, 1))
    assert one == slices_of("SR", samples, ["A", "B", "C", "B"] * 20, Bootstrap(10_000, 1))


@given(st.lists(st.integers(0, 60) | st.none(), max_size=60))
def test_quartiles_cover_all_rows_without_overlap(numbers):
    bins = quartile_bins(numbers)
    assert [name is None for name in bins] == [number is None for number in numbers]
    spans = sorted({tuple(map(int, name.split("-"))) for name in bins if name is not None})
    assert all(high < low for (_, high), (low, _) in pairwise(spans))
    assert len(spans) <= 4
    for number, name in zip(numbers, bins, strict=True):
        if number is not None:
            low, high = map(int, name.split("-"))
            assert low <= number <= high


def test_quartiles_hold_a_quarter_each():
    assert Counter(quartile_bins(range(100, 200))) == {"100-124": 25, "125-149": 25, "150-174": 25, "175-199": 25}


@pytest.mark.parametrize("facts", [{}, {"num_prompt_tokens": [None, None]}])
def test_predictions_of_others_may_lack_what_is_known_of_answers(facts):
    assert slices_of("SR", [{"output": "A"}] * 2, ["A", "B"], **facts) == []
