"""All stages of the suite by job name, and the one place where tasks, training and inference meet.

Inference knows nothing of tasks: `answer_space` tells it what a row's answer may be.
"""

from collections.abc import Mapping
from typing import Any

from ecellm.dataset import build, ingest
from ecellm.evaluation import evaluate
from ecellm.inference.predict import AnswerSpace, make_stage
from ecellm.prompts import preprocess
from ecellm.stage import Stage
from ecellm.tasks import find_task
from ecellm.training import finetune

_MAX_NEW_TOKENS_OF_OTHER_TASKS = 100  # the paper's limit, for tasks of the users' own


def answer_space(row: Mapping[str, Any]) -> AnswerSpace:
    """Return the closed choices of a samples row, if any, and how many tokens its answer may have."""
    task = find_task(row["task"])
    if task is None:
        return AnswerSpace(None, _MAX_NEW_TOKENS_OF_OTHER_TASKS)
    return AnswerSpace(task.choices(row), task.max_answer_tokens)


STAGES: dict[str, Stage[Any]] = {
    stage.job: stage
    for stage in (
        build.STAGE,
        ingest.STAGE,
        preprocess.STAGE,
        finetune.STAGE,
        make_stage(answer_space),
        evaluate.STAGE,
    )
}
