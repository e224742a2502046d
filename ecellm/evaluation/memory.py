"""How much memory a task of evaluate takes: what it has anyway, and some bytes for each answer.

The bytes are counted from the arrays that are held, with room for copies, not measured at full size; cluster/GROWTH.md
says what they are made of.
"""

from collections.abc import Mapping
from typing import Any

from ecellm.tasks import find_task
from ecellm.tasks.answer_generation import GenerationTask

BASE_BYTES = 512 * 2**20
# At most 20,000 training rows of 2 kB as Python objects, their terms, and the models' matrices.
FLOOR_BYTES = BASE_BYTES + 768 * 2**20
_BYTES_PER_ROW = 250  # keys and places of the join, kinds and codes of the scores
_BYTES_PER_FREE_TEXT = 1500  # figures of its own for every answer, and a copy while they are drawn from
_BYTES_PER_FLOOR = 800  # the references, and what some five floors answer
_BYTES_PER_CHECKED_ROW = 100
_BYTES_PER_REPORTED_ROW = 100


def memory_of_scoring(shard: Mapping[str, Any]) -> float:
    """Return the bytes of a shard of `evaluate_shard`, which has `num_rows`, `kind` and `task`."""
    per_row = _BYTES_PER_ROW
    if isinstance(find_task(shard["task"]), GenerationTask):
        per_row += _BYTES_PER_FREE_TEXT
    if shard["kind"] == "floors":
        per_row += _BYTES_PER_FLOOR
    return float(BASE_BYTES + shard["num_rows"] * per_row)


def memory_of_check(shard: Mapping[str, Any]) -> float:
    """Return the bytes of a shard of `check_ids`, which has `num_rows`."""
    return float(BASE_BYTES + shard["num_rows"] * _BYTES_PER_CHECKED_ROW)


def memory_of_report(num_answers: int) -> float:
    """Return the bytes of the report's task, if all answers were of one (setting, task)."""
    return float(BASE_BYTES + num_answers * _BYTES_PER_REPORTED_ROW)
