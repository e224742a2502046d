"""Extraction by spans and by tags: where values stand, windows, and what a tiny encoder learns."""

import json

import pytest
import torch

from ecellm.baselines.extraction import Window, read_product, reference_spans
from ecellm.baselines.learner import learner_class
from ecellm.baselines.span import tokens_inside
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import task_named
from tests.baselines.tiny_encoder import write_tiny_encoder

COLORS = ["red", "blue", "green", "black"]
SIZES = ["tiny", "small", "large", "huge"]
WORDS = [*COLORS, *SIZES, "color", "size", "lamp", "chair", "in", "a", "it", "is"]


def row(title, text, found, attributes="Color and Size"):
    items = [{"attribute": attribute, "value": value, "source": source} for attribute, value, source in found]
    fields = {"product title": title, "product text": text, "target attributes": attributes}
    return {"input": json.dumps(fields), "output": json.dumps(items), "options": None}


RED = row("Lamp in Red", "it is tiny, red", [("color", "red", "product title"), ("size", "tiny", "product text")])


def test_a_product_s_texts_and_where_its_values_stand():
    product = read_product(RED["input"])
    assert product.attributes == ["Color", "Size"]
    spans = reference_spans(product, RED["output"])
    (color,), (size,) = spans["color"], spans["size"]
    assert product.context[slice(*color)] == "Red"
    assert product.source_at(color[0]) == "product title"
    assert product.context[slice(*size)] == "tiny"
    assert product.source_at(size[0]) == "product text"
    nothing = [{"attribute": "color", "value": "None", "source": "None"}, {"attribute": "size", "value": 3}, 7]
    assert reference_spans(product, json.dumps(nothing)) == reference_spans(product, "no JSON") == {}
    assert read_product("no JSON") is read_product("[]") is read_product('{"product title": "x"}') is None


def test_a_text_whose_lower_case_is_longer_keeps_its_places():
    asked = row("\u0130\u0130 Red shirt", "", [("color", "red", "product title")], "Color")
    product = read_product(asked["input"])
    (span,) = reference_spans(product, asked["output"])["color"]
    assert product.context[slice(*span)] == "Red"


def test_tokens_of_a_value_that_a_window_holds():
    spans = [None, None, (0, 4), (5, 7), (8, 11), None]
    assert tokens_inside(spans, (5, 11)) == [3, 4]
    assert tokens_inside(spans, (6, 9)) == [3, 4]  # a token may be longer than the value
    assert tokens_inside(spans, (8, 14)) == tokens_inside(spans, (20, 22)) == tokens_inside(spans, (4, 5)) == []


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", WORDS)


@pytest.fixture
def learner(request, base_model):
    config = BaselineConfig(samples_dir="s", output_dir="o", kind=request.param, encoder=base_model, max_length=24)
    return learner_class(request.param)(config, task_named("AVE"), Storage())


@pytest.mark.parametrize("learner", ["span", "tagger"], indirect=True)
def test_long_texts_come_in_windows_that_hold_each_value(learner):
    text = " ".join(["a chair"] * 30) + " huge"
    windows = learner.examples([row("Lamp", text, [("size", "huge", "product text")], "Size")], is_training=True)
    assert len(windows) > 3
    assert all(len(window.spans) <= 24 for window in windows)
    with_value = [
        window for window in windows if 1 in window.targets or (window.targets[0] > 0 and learner.config.kind == "span")
    ]
    assert with_value == windows[-1:]


@pytest.mark.parametrize("learner", ["span"], indirect=True)
def test_an_attribute_of_many_words_leaves_room_for_the_text(learner):
    windows = learner.examples([row("Lamp", "a chair huge", [], "size " * 50)], is_training=True)
    assert windows
    assert all(any(span is not None for span in window.spans) for window in windows)


@pytest.mark.parametrize("learner", ["span"], indirect=True)
def test_a_span_counts_if_it_is_likelier_than_none(learner):
    window = Window({}, [None, None, (0, 4), (5, 7), None], [])
    first, last = torch.zeros(5), torch.zeros(5)
    first[2], last[3], first[0] = 3, 3, 5
    assert learner.found_spans([window], [torch.stack([first, last])]) == [(0, 7)]
    last[0] = 2
    assert learner.found_spans([window], [torch.stack([first, last])]) == []
    no_end = torch.stack([first, torch.tensor([0.0, 0, 0, 0, 9])])  # the likeliest end is behind the text
    assert learner.found_spans([window], [no_end]) == []


@pytest.mark.parametrize("learner", ["tagger"], indirect=True)
def test_tags_become_spans(learner):
    window = Window({}, [None, (0, 4), (5, 7), (8, 9), (10, 12), None], [])
    assert learner.found_spans([window, window], [[0, 1, 2, 0, 2, 1], [0, 1, 1, 0, 0, 0]]) == [
        (0, 4),
        (0, 7),
        (5, 7),
        (10, 12),
    ]


@pytest.mark.parametrize("learner", ["span", "tagger"], indirect=True)
def test_it_learns_values_and_that_there_are_none(learner, tmp_path):
    rows = [
        row(f"lamp in {color}", f"it is {size}", [("color", color, "product title"), ("size", size, "product text")])
        for color in COLORS
        for size in SIZES
    ]
    nothing = ("size", "None", "None")
    rows += [row(f"chair in {own}", "it is a chair", [("color", own, "product title"), nothing]) for own in COLORS]
    torch.manual_seed(1)
    windows = learner.examples(rows, is_training=True)
    model = learner.new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(80):
        learner.losses(model, windows, is_training=True).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    answers = learner.answer(model, [*rows, {"input": "?", "output": "", "options": None}])
    assert [json.loads(answer.text) for answer in answers[:-1]] == [json.loads(own["output"]) for own in rows]
    assert answers[-1].text == ""
    learner.save(model, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert learner.answer(learner.load(tmp_path / "saved"), rows[:3]) == answers[:3]
