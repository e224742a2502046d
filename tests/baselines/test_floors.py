"""Classical floors on samples small enough to see what they should answer."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecellm.baselines.floors import FLOORS, floors_of
from ecellm.baselines.floors.linear import features
from ecellm.baselines.floors.overlap import best_threshold, jaccard
from ecellm.baselines.floors.snippets import first_sentence
from ecellm.sources import amazon_google
from ecellm.storage import Storage
from ecellm.tasks import TASKS, task_named
from ecellm.tasks.product_matching import build_examples

OPTIONS = json.dumps(["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"])


def floor(name):
    return next(own for own in FLOORS if own.name == name)


def row(text, output="", options=None):
    return {"input": text, "output": output, "options": options, "relevance": None}


def test_every_task_but_extraction_has_one():
    assert {task.short_name for task in TASKS if not floors_of(task)} == {"AVE"}


def test_features_of_a_pair_tell_sides_and_what_is_shared():
    text = json.dumps({"query": "Red lamp", "product": "lamp, red"})
    assert sorted(features(text)) == ["1 lamp", "1 red", "2 lamp", "2 red", "both lamp", "both red"]
    assert features("Very good lamp") == ["very", "good", "lamp", "very good", "good lamp"]


def test_words_tell_the_sentiment():
    task = task_named("SA")
    train = [row(f"it is great, number {n}", "A: very positive", OPTIONS) for n in range(20)]
    train += [row(f"it is awful, number {n}", "E: very negative", OPTIONS) for n in range(20)]
    train += [row("no class", "Z", OPTIONS)]
    answer = floor("tfidf-logreg").train(task, train)
    asked = [row("great it is", options=OPTIONS), row("awful it is", options=OPTIONS)]
    assert answer(asked) == ["A: very positive", "E: very negative"]
    assert answer([]) == []


@pytest.mark.parametrize("rows", [[], [row("a", "yes")] * 3, [row("a", "?"), row("b", "!")]])
def test_what_cannot_be_learned_gives_no_floor(rows):
    assert floor("tfidf-logreg").train(task_named("PM"), rows) is None


def test_overlap_of_two_listings_and_of_a_query():
    assert jaccard("red lamp", "Lamp blue") == pytest.approx(1 / 3)
    assert jaccard("", "") == 0
    pair = json.dumps
    same = [row(pair({"1": f"lamp no {n}", "2": f"no {n} lamp"}), "yes") for n in range(5)]
    other = [row(pair({"1": f"lamp no {n}", "2": f"chair x{n} red"}), "no") for n in range(5)]
    answer = floor("token-overlap").train(task_named("PM"), [*same, *other])
    assert answer([same[0], other[0]]) == ["yes", "no"]
    assert floor("token-overlap").train(task_named("PM"), other) is None
    ranked = floor("token-overlap").train(task_named("QPR"), [])
    text = json.dumps({"query": "red lamp", "product list": ["A: chair", "B: a lamp", "C: lamp, red", "D: desk"]})
    assert ranked([row(text), row("?")]) == ["C,B,A,D", ""]


def test_the_threshold_with_the_best_f1():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values, is_yes = rng.integers(0, 6, 30) / 5, rng.random(30) < 0.4
        is_yes[0] = True
        best = max(f1_score(is_yes, values >= threshold) for threshold in set(values))
        assert f1_score(is_yes, values >= best_threshold(values, is_yes)) == pytest.approx(best)


def purchases(history, target, others=("x", "y")):
    candidates = [target, *others]
    return row(
        repr([f"{n}th: {text}" for n, text in enumerate(history)]),
        "A",
        repr([f"{letter}: {text}" for letter, text in zip("ABC", candidates, strict=False)]),
    )


def test_the_popular_and_the_bought_together():
    task = task_named("SR")
    train = [purchases(["tea", "cup"], "pot")] * 2 + [purchases(["nail"], "hammer")] * 3
    asked = row("['1st: tea']", "", "['A: hammer', 'B: pot', 'C: x']")
    assert floor("popularity").train(task, train)([asked]) == ["A"]
    assert floor("co-occurrence").train(task, train)([asked]) == ["B"]
    unknown = row("['1st: ?']", "", "['A: ?', 'B: hammer']")
    assert floor("co-occurrence").train(task, train)([unknown, row("?", "", "?")]) == ["B", ""]
    assert floor("popularity").train(task, [row("?", "A", "?")]) is None


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (["", " It is blue. Or red. ", "No."], "It is blue."),
        ("One text! More.", "One text!"),
        (["no end"], "no end"),
        ([], ""),
        (7, ""),
    ],
)
def test_the_first_sentence_of_the_first_snippet(document, sentence):
    assert first_sentence(json.dumps({"question": "?", "document": document})) == sentence
    assert first_sentence("no JSON") == first_sentence("[]") == ""


def test_real_product_pairs(real_data):
    """On the release's own 253 test rows; the figures of README."""
    examples = build_examples(amazon_google.read(Storage(), str(real_data)))
    rows = {split: [row(own.input, own.output) for own in found] for split, found in examples.items()}
    is_yes = [own["output"] == "yes" for own in rows["test"]]
    f1 = {}
    for own in floors_of(task_named("PM")):
        answers = own.train(task_named("PM"), rows["train"])(rows["test"])
        f1[own.name] = round(float(f1_score(is_yes, [answer == "yes" for answer in answers])), 3)
    assert f1 == {"tfidf-logreg": 0.664, "token-overlap": 0.876}
