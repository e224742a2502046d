"""Lettered options against scikit-learn's macro averages."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ecellm.tasks import task_named

OPTIONS = json.dumps(["A: very good", "B: so so", "C: very bad"])
TASK = task_named("SA")


def figures(references, responses):
    rows = [TASK.score({"output": ref}, answer) for ref, answer in zip(references, responses, strict=True)]
    return TASK.metrics(TASK.statistics(rows).sum(0)), rows


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("references", "answers"),
    [("ABCDE", "ABCDE?"), ("ABC", "ABCDx"), ("A", "AB"), ("AB", "C"), ("E", "E"), ("D", "A"), ("ABZ", "ABC")],
)
def test_figures_are_those_of_scikit_learn_on_the_valid_rows(seed, references, answers):
    rng = np.random.default_rng(seed)
    true = [f"{letter}: text" for letter in rng.choice(list(references), 50)]
    said = [f"{letter}: other text" for letter in rng.choice(list(answers), 50)]
    valid = [(ref[0], answer[0]) for ref, answer in zip(true, said, strict=True) if answer[0] in "ABCDE"]
    labels, predictions = zip(*valid, strict=True)
    values, rows = figures(true, said)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    assert values["acc"] == pytest.approx(accuracy_score(labels, predictions))
    assert (values["precision"], values["recall"], values["f1"]) == pytest.approx((precision, recall, f1))
    assert sum(row.num_invalid for row in rows) == 50 - len(valid)


def test_an_answer_beyond_the_options_adds_a_class_of_zeros():
    # classes A (f1 2/3), B (f1 1), D (f1 0): the mean of three, though only A and B can be right
    values, _ = figures(["A", "A", "B"], ["A", "D", "B"])
    assert values["f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert values["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("response", "parsed"), [("A", "A"), ("Because", "B"), ("a: x", None), ("F", None), ("", None)]
)
def test_the_first_character_decides(response, parsed):
    row = TASK.score({"output": "A: very good"}, response)
    assert (row.parsed, row.reference) == (parsed, "A")


def test_without_a_valid_row_all_figures_are_zero():
    assert figures(["A", "B"], ["", "?"])[0] == dict.fromkeys(TASK.metric_names, 0)


def test_choices_are_texts_or_letters_as_the_references_are():
    assert task_named("SA").choices({"options": OPTIONS}) == ("A: very good", "B: so so", "C: very bad")
    assert task_named("PRP").choices({"options": OPTIONS}) == ("A", "B", "C")
    for broken in (None, "", "no json", "[]", "[1]", '{"a": 1}', "[" * 100_000):
        assert TASK.choices({"options": broken}) is None


def test_trivial_answers_are_the_majority_and_a_seeded_choice():
    samples = [{"output": f"{letter}: x", "options": OPTIONS} for letter in "AABBBC"]
    floors = TASK.trivial_answers(samples, 3)
    assert floors["majority"] == ["B: x"] * 6
    assert set(floors["random-choice"]) <= set(json.loads(OPTIONS))
    assert floors == TASK.trivial_answers(samples, 3)
