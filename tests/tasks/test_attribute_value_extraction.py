"""Attribute value extraction: figures worked out by hand, and every odd item."""

import json

import pytest

from ecellm.tasks import task_named
from ecellm.tasks.attribute_value_extraction import count_hits

TASK = task_named("AVE")
COLOR = {"attribute": "color", "value": "dark red", "source": "product title"}
SIZE = {"attribute": "size", "value": "None", "source": "None"}
IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"


def score(answer, labels=(COLOR, SIZE), setting=IND):
    return TASK.score({"output": json.dumps(list(labels)), "setting": setting}, answer)


def test_figures_by_hand():
    rows = [
        score(json.dumps([COLOR, SIZE])),  # 2 hits of 2 predictions, 2 labels
        score(json.dumps([COLOR, COLOR, {"attribute": "brand", "value": "x", "source": "y"}])),  # 2 hits of 3, 2 labels
        score("color: dark red"),  # no JSON: invalid, 2 labels
        score('{"attribute": "color"}'),  # JSON but no list: valid, no predictions, 2 labels
        score(json.dumps([{"attribute": "color"}])),  # a prediction that cannot hit, 2 labels
    ]
    assert [row.is_valid for row in rows] == [True, True, False, True, True]
    assert sum(row.num_invalid for row in rows) == 1
    statistics = TASK.statistics(rows)
    assert statistics.tolist() == [[2, 2, 2], [2, 3, 2], [0, 0, 2], [0, 0, 2], [0, 1, 2]]
    recall, precision = 4 / 10, 4 / (6 + 1e-6)
    values = TASK.metrics(statistics.sum(0))
    assert float(values["recall"]) == pytest.approx(recall, abs=1e-12)
    assert float(values["precision"]) == pytest.approx(precision, abs=1e-12)
    assert float(values["f1"]) == pytest.approx(2 * recall * precision / (recall + precision + 1e-6), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "source", "strict", "lenient"),
    [
        ("dark red", "product title", 1, 1),
        ("red", "product title", 0, 1),  # contained in the label's
        ("very dark red", "title", 0, 1),  # contains the label's
        ("red", "product description", 0, 0),
        ("blue", "product title", 0, 0),
        ("", "", 0, 1),  # the empty text is contained in everything
        (None, "product title", 0, 0),
        ("dark red", None, 0, 0),
    ],
)
def test_out_of_domain_settings_are_lenient(value, source, strict, lenient):
    answer = json.dumps([{"attribute": "color", "value": value, "source": source}])
    for setting, hits in [(IND, strict), (OOD, lenient), ("OOD_Diverse_Instruction_1-shot", lenient)]:
        row = score(answer, setting=setting)
        assert (row.components["hits"], row.components["num_predicted"]) == (hits, 1)


def test_values_are_compared_as_text_out_of_domain():
    label = {"attribute": "year", "value": "2014", "source": "product title"}
    item = {"attribute": "year", "value": 2014, "source": "product title"}
    assert count_hits([item], [label], is_lenient=True) == (1, 1)
    assert count_hits([item], [label], is_lenient=False) == (0, 1)


def test_items_on_which_the_released_scorer_stops_are_no_predictions():
    odd = [1, None, True, 2.5, "attribute", 'an "attribute" as text', ["attribute"], {}, {"value": "x"}]
    assert count_hits([*odd, COLOR], [COLOR], is_lenient=False) == (1, 1)
    unhashable = {"attribute": ["color"], "value": "x", "source": "y"}
    assert count_hits([unhashable], [COLOR], is_lenient=False) == (0, 0)
    for source in (5, ["product title"], {"a": 1}):
        searched = {"attribute": "color", "value": "red", "source": source}
        assert count_hits([searched], [COLOR], is_lenient=True) == (0, 0)
        assert count_hits([searched], [COLOR], is_lenient=False) == (0, 1)  # there it is only compared


def test_all_labels_are_compared_with_all_predictions():
    twice = [COLOR, {**COLOR, "value": "red"}]
    assert count_hits([COLOR, COLOR], twice, is_lenient=True) == (4, 2)
    assert count_hits([COLOR, COLOR], twice, is_lenient=False) == (2, 2)


def test_a_reference_that_is_no_json_has_no_labels_but_its_predictions_count():
    row = TASK.score({"output": "no json", "setting": IND}, json.dumps([COLOR]))
    assert dict(row.components) == {"hits": 0, "num_predicted": 1, "num_gold": 0}


def test_nothing_at_all_gives_zeros():
    assert TASK.metrics(TASK.statistics([]).sum(0)) == {"recall": 0, "precision": 0, "f1": 0}


def test_the_trivial_answer_is_the_commonest_reference():
    samples = [{"output": "b"}, {"output": "a"}, {"output": "a"}]
    assert TASK.trivial_answers(samples, 0) == {"most-frequent-answer": ["a"] * 3}
