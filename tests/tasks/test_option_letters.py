"""Lettered options against scikit-learn's macro averages, in both flavours."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ecellm.tasks import task_named

OPTIONS = json.dumps(["A: very good", "B: so so", "C: very bad"])
TASK = task_named("SA")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")


def figures(references, responses, scorer=RELEASED):
    rows = [scorer.score({"output": ref}, answer) for ref, answer in zip(references, responses, strict=True)]
    return scorer.metrics(scorer.statistics(rows).sum(0)), rows


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
    row = RELEASED.score({"output": "A: very good"}, response)
    assert (row.parsed, row.reference) == (parsed, "A")


def test_without_a_valid_row_all_figures_are_zero():
    assert figures(["A", "B"], ["", "?"])[0] == dict.fromkeys(RELEASED.metric_names, 0)


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "letters"), [("PRP", "ABC"), ("SA", "ABCDE"), ("MPC", "ABCD")])
@pytest.mark.parametrize("answers", ["ABCDE?", "A?", "?", "ABC", "Zz?"])
def test_strict_figures_are_those_of_scikit_learn_with_a_class_more(seed, name, letters, answers):
    rng = np.random.default_rng(seed)
    true = rng.choice(list(letters[: 2 + seed]), 50).tolist()  # not every letter occurs
    said = rng.choice(list(answers), 50).tolist()
    values, rows = figures([f"{letter}: text" for letter in true], said, task_named(name).scorer("strict"))
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, said, labels=list(letters), average="macro", zero_division=0
    )
    assert values["acc"] == pytest.approx(accuracy_score(true, said))
    assert (values["precision"], values["recall"], values["f1"]) == pytest.approx((precision, recall, f1))
    assert sum(row.num_invalid for row in rows) == sum(letter not in letters for letter in said)


def test_strict_figures_by_hand_keep_every_row():
    strict = task_named("PRP").scorer("strict")
    # A: hit, unreadable; B: hit, answered D, which is no option; C never occurs
    values, rows = figures(["A", "A", "B", "B"], ["A", "", "B: text", "D"], strict)
    assert [row.parsed for row in rows] == ["A", None, "B", None]
    expected = {
        "acc": 2 / 4,
        "recall": (1 / 2 + 1 / 2 + 0) / 3,
        "precision": (1 + 1 + 0) / 3,
        "f1": (2 / 3 + 2 / 3) / 3,
    }
    assert values == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "parsed"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("B: positive", "B"),
        ("B\nC", "B"),
        ("Because", None),
        ("B2", None),
        ("B\u00e9", None),
        ("b", None),
        ("F", None),
        ("(B)", None),
        ("", None),
    ],
)
def test_a_strict_answer_is_a_letter_that_no_letter_or_digit_follows(response, parsed):
    row = STRICT.score({"output": "B: positive"}, response)
    assert (row.parsed, row.is_valid, row.num_invalid) == (parsed, parsed is not None, int(parsed is None))
    assert (row.reference, row.components["correct"]) == ("B", float(parsed == "B"))


def test_a_reference_that_is_no_option_is_a_row_that_nothing_hits():
    values, rows = figures(["A", "AB", ""], ["A", "AB", ""], STRICT)
    assert [row.reference for row in rows] == ["A", "AB", ""]
    assert values == pytest.approx({"acc": 1 / 3, "recall": 1 / 5, "precision": 1 / 5, "f1": 1 / 5})
