"""What all tasks share: how a response is cut, division by zero, flavours."""

import numpy as np
import pytest

from ecellm.tasks import FLAVOURS, RELEASED, TASKS, task_named
from ecellm.tasks.scorer import answer_text, ratio


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (" yes\n", "yes"),
        ("no\n\n### Response:\nyes", "no"),
        ("B [/INST] ### Response:\nC", "B"),
        ("[/INST] ### Response: A", ""),
        ("### Response:", ""),
        ("", ""),
        ("yes ### Input: more", "yes ### Input: more"),
    ],
)
def test_a_response_is_cut_at_a_repeated_header_and_stripped(response, answer):
    assert answer_text(response) == answer


def test_dividing_by_zero_gives_zero():
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])), [0, 0, 1.5])
    assert float(ratio(np.float64(1), np.float64(0))) == 0


def test_an_unknown_flavour_is_refused():
    with pytest.raises(ValueError, match="known flavours: released, strict"):
        task_named("PM").scorer("lenient")


def test_every_task_has_one_scorer_for_each_flavour_and_the_same_headline():
    for task in TASKS:
        assert tuple(scorer.flavour for scorer in task.scorers()) == FLAVOURS
        assert task.scorer().flavour == RELEASED
        released, strict = (task.scorer(flavour).metric_names for flavour in FLAVOURS)
        assert strict[: len(released)] == released
