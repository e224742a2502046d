"""Scoring answers: what a scorer cannot take is told by its row."""

import pytest

from ecellm.evaluation.scored import score_answers
from ecellm.tasks import find_task


def test_a_row_that_a_scorer_fails_on_is_named():
    task = find_task("Product_Matching")
    good = {"sample_id": "good", "task": task.name, "output": "yes", "options": None, "input": "x"}
    bad = {"sample_id": "bad", "task": task.name, "input": "x"}  # no reference
    with pytest.raises(RuntimeError, match=r"scorer fails on sample bad of Product_Matching: KeyError"):
        score_answers(task, [good, bad], ["yes", "no"])
