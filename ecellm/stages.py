"""All stages of the suite by job name, and the one place where tasks, training and inference meet.

Inference and training know nothing of tasks: `answer_space` tells the one what a row's answer may be,
`share_right_of_rows` the other how many answers are right. A stage is imported only when it
is asked for: a driver that ingests data must not load torch.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecellm.inference.request import AnswerSpace
from ecellm.stage import Stage
from ecellm.tasks import find_task
from ecellm.tasks.quick_score import can_score, share_right

if TYPE_CHECKING:
    from ecellm.training.batches import TrainingRow

_MODULES = {
    "build": "ecellm.dataset.build",
    "ingest": "ecellm.dataset.ingest",
    "preprocess": "ecellm.prompts.preprocess",
    "evaluate": "ecellm.evaluation.evaluate",
    "baseline": "ecellm.baselines.stage",
}


def load_stage(job: str) -> Stage[Any]:
    """Return the stage of a job.

    Args:
        job: build, ingest, preprocess, finetune, predict, evaluate or baseline.
    """
    if job == "predict":
        from ecellm.inference.predict import make_stage

        return make_stage(answer_space)
    if job == "finetune":
        from ecellm.training import finetune
        from ecellm.training.job import Evaluator

        return finetune.make_stage(Evaluator(can_score, share_right_of_rows))
    stage: Stage[Any] = import_module(_MODULES[job]).STAGE
    return stage


def share_right_of_rows(
    rows: Sequence["TrainingRow"], references: Sequence[str], answers: Sequence[str]
) -> dict[str, float]:
    """Return the share of right answers to some training rows by short task name."""
    return share_right([row.task for row in rows], [row.setting for row in rows], references, answers)


def answer_space(row: Mapping[str, Any]) -> AnswerSpace:
    """Return what the answer to a samples row may be; a task of the users' own has free answers."""
    task = find_task(row["task"])
    if task is None:
        return AnswerSpace()
    return AnswerSpace(task.choices(row), task.max_answer_tokens, task.ranks_choices, task.is_one_line)
