"""Sequential recommendation: exactly one letter, and options that are a Python list."""

import numpy as np
import pytest

from ecellm.tasks import task_named
from ecellm.tasks.sequential_recommendation import candidate_letters

TASK = task_named("SR")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")
LETTERS = "ABCDEFGHIJKLMNOPQRST"
OPTIONS = repr([f'{letter}: it\'s "item" {letter}' for letter in LETTERS])


def test_only_one_letter_is_an_answer_and_the_rest_is_left_out():
    answers = ["A", " B\n", "C: text", "a", "U", "", "AB", "T"]
    rows = [RELEASED.score({"output": "A"}, answer) for answer in answers]
    assert [row.parsed for row in rows] == ["A", "B", None, None, None, None, None, "T"]
    statistics = RELEASED.statistics(rows)
    assert float(RELEASED.metrics(statistics.sum(0))["recall@1"]) == pytest.approx(1 / 3)
    assert sum(row.num_invalid for row in rows) == 5


def test_without_a_valid_row_the_figure_is_zero():
    assert float(RELEASED.metrics(RELEASED.statistics([RELEASED.score({"output": "A"}, "?")]).sum(0))["recall@1"]) == 0
    assert float(RELEASED.metrics(np.zeros(2))["recall@1"]) == 0


def test_choices_are_the_letters_of_the_list_repr():
    assert TASK.choices({"options": OPTIONS}) == tuple(LETTERS)


@pytest.mark.parametrize(
    "options",
    [
        None,
        "",
        "[",
        "1 + 1",
        "__import__('os')",
        "[1, 2]",
        "['']",
        "[]",
        "{'A': 1}",
        "(" * 5_000,
        "['A'" + "," * 300_000,
    ],
)
def test_options_that_are_no_such_list_give_no_choices(options):
    assert candidate_letters(options) is None


def test_trivial_answers_are_valid_letters():
    samples = [{"output": "C", "options": OPTIONS}] * 200
    floors = TASK.trivial_answers(samples, 1)
    assert floors["always-A"] == ["A"] * 200
    assert len(set(floors["random-choice"])) > 15


def test_a_strict_answer_is_a_letter_with_a_full_stop_or_a_text_and_every_row_counts():
    answers = [
        "C",
        " C.\n",
        "C: some item\nwith a break",
        "C:",
        "A",
        "c",
        "U",
        "",
        "CD",
        "C item",
        "C..",
        "The answer is C",
    ]
    rows = [STRICT.score({"output": "C"}, answer) for answer in answers]
    assert [row.parsed for row in rows] == ["C", "C", "C", "C", "A", *[None] * 7]
    assert [row.components["correct"] for row in rows] == [1] * 4 + [0] * 8
    assert sum(row.num_invalid for row in rows) == 7
    assert float(STRICT.metrics(STRICT.statistics(rows).sum(0))["recall@1"]) == pytest.approx(4 / 12)


def test_a_reference_without_a_letter_is_never_hit_by_a_strict_answer():
    row = STRICT.score({"output": "?"}, "?")
    assert (row.parsed, row.reference, row.components["correct"]) == (None, "?", 0)
    assert STRICT.score({"output": "C: text"}, "C").components["correct"] == 1
