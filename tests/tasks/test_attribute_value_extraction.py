"""Attribute value extraction: figures worked out by hand, and every odd item."""

import json

import pytest

from ecellm.tasks import task_named
from ecellm.tasks.extraction_scorers import count_hits

TASK = task_named("AVE")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")
COLOR = {"attribute": "color", "value": "dark red", "source": "product title"}
SIZE = {"attribute": "size", "value": "None", "source": "None"}
IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"


def score(answer, labels=(COLOR, SIZE), setting=IND):
    return RELEASED.score({"output": json.dumps(list(labels)), "setting": setting}, answer)


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
    statistics = RELEASED.statistics(rows)
    assert statistics.tolist() == [[2, 2, 2], [2, 3, 2], [0, 0, 2], [0, 0, 2], [0, 1, 2]]
    recall, precision = 4 / 10, 4 / (6 + 1e-6)
    values = RELEASED.metrics(statistics.sum(0))
    assert float(values["recall"]) == pytest.approx(recall, abs=1e-12)
    assert float(values["precision"]) == pytest.approx(precision, abs=1e-12)
    assert float(values["f1"]) == pytest.approx(2 * recall * precision / (recall + precision + 1e-6), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "source", "exact", "lenient"),
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
def test_out_of_domain_settings_are_lenient(value, source, exact, lenient):
    answer = json.dumps([{"attribute": "color", "value": value, "source": source}])
    for setting, hits in [(IND, exact), (OOD, lenient), ("OOD_Diverse_Instruction_1-shot", lenient)]:
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
    no_text = {"attribute": ["color"], "value": "x", "source": "y"}  # an object with an attribute, whatever that is
    assert count_hits([no_text], [COLOR], is_lenient=False) == (0, 1)
    for source in (5, ["product title"], {"a": 1}):
        searched = {"attribute": "color", "value": "red", "source": source}
        assert count_hits([searched], [COLOR], is_lenient=True) == (0, 0)
        assert count_hits([searched], [COLOR], is_lenient=False) == (0, 1)  # there it is only compared


def test_all_labels_are_compared_with_all_predictions():
    twice = [COLOR, {**COLOR, "value": "red"}]
    assert count_hits([COLOR, COLOR], twice, is_lenient=True) == (4, 2)
    assert count_hits([COLOR, COLOR], twice, is_lenient=False) == (2, 2)


def test_a_reference_that_is_no_json_has_no_labels_but_its_predictions_count():
    row = RELEASED.score({"output": "no json", "setting": IND}, json.dumps([COLOR]))
    assert dict(row.components) == {"hits": 0, "num_predicted": 1, "num_gold": 0}


def test_nothing_at_all_gives_zeros():
    assert RELEASED.metrics(RELEASED.statistics([]).sum(0)) == {"recall": 0, "precision": 0, "f1": 0}


def test_the_trivial_answer_is_the_commonest_reference():
    samples = [{"output": "b"}, {"output": "a"}, {"output": "a"}]
    assert TASK.trivial_answers(samples, 0) == {"most-frequent-answer": ["a"] * 3}


def test_an_item_nested_too_deeply_to_be_compared_is_no_prediction():
    value = []
    for _ in range(100_000):
        value = [value]
    item = {"attribute": "color", "value": value, "source": "product title"}
    assert count_hits([item, COLOR], [COLOR], is_lenient=True) == (1, 1)


def strict(items, labels=(COLOR, SIZE), setting=IND):
    answer = items if isinstance(items, str) else json.dumps(items)
    return STRICT.score({"output": json.dumps(list(labels)), "setting": setting}, answer)


def counts(row):
    return [row.components[name] for name in ("hits", "num_predicted", "num_gold", "value_hits")]


def test_strict_figures_by_hand():
    rows = [
        strict([COLOR, SIZE]),  # 2 hits of 2 predictions
        strict([COLOR, COLOR, {**SIZE, "source": "product title"}]),  # 1 of 3, and another by value
        strict("color: dark red"),  # invalid
        strict([5, None, {"attribute": "color"}, COLOR]),  # 1 of 4
    ]
    assert STRICT.statistics(rows).tolist() == [[2, 2, 2, 2], [1, 3, 2, 2], [0, 0, 2, 0], [1, 4, 2, 1]]
    assert STRICT.metrics(STRICT.statistics(rows).sum(0)) == pytest.approx(
        {
            "recall": 4 / 8,
            "precision": 4 / 9,
            "f1": 8 / 17,
            "value_recall": 5 / 8,
            "value_precision": 5 / 9,
            "value_f1": 10 / 17,
        }
    )
    assert [row.is_valid for row in rows] == [True, True, False, True]
    assert sum(row.num_invalid for row in rows) == 1


def test_strict_hits_are_exact_out_of_domain_too():
    for item in ({**COLOR, "value": "red"}, {**COLOR, "value": ""}, {**COLOR, "value": "Dark red"}):
        assert counts(strict([item], [COLOR], OOD)) == [0, 1, 1, 0]
    assert counts(strict([{**COLOR, "source": "title"}], [COLOR], OOD)) == [0, 1, 1, 1]


def test_each_label_has_one_partner():
    assert counts(strict([COLOR] * 3, [COLOR])) == [1, 3, 1, 1]
    assert counts(strict([COLOR] * 3, [COLOR, COLOR])) == [2, 3, 2, 2]
    other = {**COLOR, "source": "product brand"}
    assert counts(strict([other, COLOR], [COLOR, other])) == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "item",
    [1, None, True, 2.5, "color", [], {}, {"value": "x"}, {**COLOR, "attribute": ["color"]}, {**COLOR, "value": None},
     {**COLOR, "source": {"a": 1}}, {"attribute": "color", "value": "dark red"}],
)  # fmt: skip
def test_nothing_in_a_strict_answer_is_free(item):
    assert counts(strict([item], [COLOR])) == [0, 1, 1, 0]
    assert counts(strict([item, COLOR], [COLOR])) == [1, 2, 1, 1]


def test_numbers_and_truth_values_do_not_stand_for_each_other_or_for_texts():
    for one, other in [("1", "1.0"), ("1", "true"), ("true", "1.0"), ("1", '"1"'), ("null", '"None"'), ("1", "1")]:
        answer, output = (f'[{{"attribute": "x", "value": {value}, "source": "y"}}]' for value in (one, other))
        assert counts(STRICT.score({"output": output, "setting": IND}, answer)) == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("answer", "num_predicted", "is_valid"),
    [
        ("", 0, False), ("color", 0, False), ("[" * 100_000, 0, False), ("9" * 5_000, 0, False), ("[1,]", 0, False),
        ('[{"attribute": "color"}] and', 0, False), ("{}", 1, False), ("null", 1, False), ("NaN", 1, False),
        ("7", 1, False), (json.dumps(COLOR), 1, False), ("[]", 0, True), ("[NaN, -Infinity]", 2, True),
    ],
)  # fmt: skip
def test_strict_answers_that_are_no_list_are_invalid(answer, num_predicted, is_valid):
    row = strict(answer, [COLOR])
    assert counts(row) == [0, num_predicted, 1, 0]
    assert (row.is_valid, row.parsed, row.num_invalid) == (is_valid, answer if is_valid else None, int(not is_valid))


def test_parts_are_the_labels_attributes():
    red, brand = {**COLOR, "value": "red"}, {"attribute": "brand", "value": "x", "source": "y"}
    row = strict([COLOR, COLOR, brand, 5, {"attribute": "size"}], [COLOR, red, SIZE])
    assert STRICT.part_name == "attribute"
    assert {name: counts(part) for name, part in row.parts.items()} == {"color": [1, 2, 2, 1], "size": [0, 1, 1, 0]}
    assert counts(row) == [1, 5, 3, 1]
    assert STRICT.statistics(list(row.parts.values())).shape == (2, 4)
    invalid = strict("no json")
    assert [(part.is_valid, part.num_invalid, counts(part)) for part in invalid.parts.values()] == [
        (False, 1, [0, 0, 1, 0])
    ] * 2
    assert strict([COLOR], []).parts == {}
    assert (RELEASED.part_name, RELEASED.score({"output": json.dumps([COLOR]), "setting": IND}, "[]").parts) == (
        None,
        {},
    )
