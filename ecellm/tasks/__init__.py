"""The ten tasks of ECInstruct, in the paper's order, and how they are looked up.

To add a task: write its module, and add one line to `TASKS`.
"""

import difflib

from ecellm.errors import InputError
from ecellm.tasks import (
    answer_generation,
    answerability_prediction,
    attribute_value_extraction,
    multiclass_product_classification,
    product_matching,
    product_relation_prediction,
    product_substitute_identification,
    query_product_ranking,
    sentiment_analysis,
    sequential_recommendation,
)
from ecellm.tasks.scorer import FLAVOURS, RELEASED, STRICT, RowScore, Sample, Scorer
from ecellm.tasks.task import Task

__all__ = [
    "FLAVOURS",
    "RELEASED",
    "STRICT",
    "TASKS",
    "RowScore",
    "Sample",
    "Scorer",
    "Task",
    "canonical_name",
    "find_task",
    "task_named",
]

TASKS: tuple[Task, ...] = (
    attribute_value_extraction.TASK,
    product_relation_prediction.TASK,
    product_matching.TASK,
    sentiment_analysis.TASK,
    sequential_recommendation.TASK,
    multiclass_product_classification.TASK,
    product_substitute_identification.TASK,
    query_product_ranking.TASK,
    answerability_prediction.TASK,
    answer_generation.TASK,
)
_BY_NAME: dict[str, Task] = {
    name.casefold(): task for task in TASKS for name in (task.name, task.short_name, *task.aliases)
}


def find_task(name: str) -> Task | None:
    """Return the task of a canonical name, an alias or a short name, in any case; None for any other name."""
    return _BY_NAME.get(name.casefold())


def task_named(name: str) -> Task:
    """Return the task of a canonical name, an alias or a short name, in any case.

    Raises:
        InputError: there is no such task; the message names the nearest one.
    """
    task = find_task(name)
    if task is None:
        near = difflib.get_close_matches(name.casefold(), _BY_NAME, n=1, cutoff=0.5)
        hint = f"did you mean {_BY_NAME[near[0]].name}? " if near else ""
        raise InputError(f"unknown task {name!r}: {hint}The tasks are {', '.join(task.name for task in TASKS)}")
    return task


def canonical_name(name: str) -> str:
    """Return the correct spelling of a task's name.

    Raises:
        InputError: it is none of the ten tasks, however spelled.
    """
    return task_named(name).name
