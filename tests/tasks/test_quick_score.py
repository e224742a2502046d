"""The quick look at answers during training: of every task, right and wrong ones."""

import pytest

from ecellm.tasks import TASKS, task_named
from ecellm.tasks.quick_score import can_score, share_right

ANSWERS = {
    "PM": ("yes", "no"),
    "PSI": ("no", "yes"),
    "AP": ("yes", "maybe"),
    "SA": ("B", "C"),
    "PRP": ("A", ""),
    "MPC": ("C: The product is relevant", "D: no"),
    "SR": ("T", "A"),
    "QPR": ("B,A,C", "A,B,C"),
    "AVE": ('[{"attribute": "color"}]', "[]"),
}


def test_every_task_but_answer_generation_is_scored():
    names = {task.short_name for task in TASKS}
    assert names - set(ANSWERS) == {"AG"}
    assert {task.short_name for task in TASKS if can_score(task.name)} == set(ANSWERS)
    assert can_score("my own")


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_right_wrong_and_unreadable_answers(name):
    right, wrong = ANSWERS[name]
    task = task_named(name).name
    answers = [right, f" {right} ", wrong, "###"]
    settings = ["IND_Diverse_Instruction"] * 4
    assert share_right([task] * 4, settings, [right] * 4, answers) == {name: 0.5}


def test_tasks_are_told_apart_and_others_are_compared_as_text():
    tasks = ["Product_Matching", "my own", "my own", "Answer_Generation"]
    found = share_right(tasks, ["x"] * 4, ["yes", "one", "two", "free text"], ["YES", "one", "three", "other"])
    assert found == {"PM": 1.0, "my own": 0.5}
