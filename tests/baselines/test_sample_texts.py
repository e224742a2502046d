"""What a sample says, taken apart."""

import json

import pytest

from ecellm.baselines.sample_texts import (
    answer_of,
    class_of,
    classes_of,
    listed_texts,
    query_and_products,
    text_pair,
)
from ecellm.tasks import TASKS, task_named


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ('{"query": "red lamp", "product title": "lamp, red"}', ("red lamp", "lamp, red")),
        ('{"Product 1:": "a", "Product 2:": "b"}', ("a", "b")),
        ('{"question": "blue?", "document": ["no", "yes, blue"]}', ("blue?", "no yes, blue")),
        (
            (
                '{"product 1": {"title": "x", "description": NaN, "manufacturer": "nan", "price": "95.0"}, '
                '"product 2": {"title": "y", "description": "d"}}'
            ),
            ("x 95.0", "y d"),
        ),
        ("a review, bare", ("a review, bare", None)),
        ('{"only": "one"}', ('{"only": "one"}', None)),
        ("[1, 2]", ("[1, 2]", None)),
        ("{", ("{", None)),
    ],
)
def test_the_two_texts_of_an_input(text, pair):
    assert text_pair(text) == pair


def test_a_ranking_s_query_and_products():
    text = json.dumps({"query": "q", "product list": ["A: x", "B: B: y"]})
    assert query_and_products(text) == ("q", ["x", "B: y"])
    assert query_and_products('{"query": "q"}') is query_and_products("no JSON") is None
    assert query_and_products('{"query": "q", "product list": ["A: x", 2]}') is None


def test_items_of_a_history_and_of_options_are_the_same_texts():
    assert listed_texts("['1st: a lamp.', '22nd: b']") == listed_texts("['A: a lamp.', 'T: b']") == ("a lamp.", "b")
    assert listed_texts("['no label']") == ("no label",)
    assert listed_texts("__import__('os')") is listed_texts(None) is listed_texts("[1]") is listed_texts("[]") is None


def test_classes_and_the_answers_that_a_task_expects():
    sentiment, relation = task_named("SA"), task_named("PRP")
    assert classes_of(sentiment) == tuple("ABCDE")
    assert classes_of(relation) == tuple("ABC")
    assert classes_of(task_named("PM")) == ("yes", "no")
    assert {task.short_name for task in TASKS if not classes_of(task)} == {"AVE", "SR", "QPR", "AG"}
    options = '["A: very positive", "B: positive", "C: neutral"]'
    row = {"options": options, "output": "B: positive"}
    assert class_of(sentiment, row) == "B"
    assert answer_of(sentiment, row, "C") == "C: neutral"
    assert answer_of(relation, {"options": options}, "C") == "C"  # its references are letters
    assert answer_of(sentiment, {"options": None}, "E") == "E"
    assert class_of(task_named("PM"), {"output": " Yes "}) == "yes"
    assert class_of(task_named("PM"), {"output": "maybe"}) is class_of(sentiment, {"output": ""}) is None
