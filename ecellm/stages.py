"""All stages of the suite by job name, and the one place where tasks, training and inference meet.

Inference knows nothing of tasks: `answer_space` tells it what a row's answer may be. A stage is imported only when it
is asked for: a driver that ingests data must not load torch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ecellm.stage import Stage
from ecellm.tasks import find_task

_MODULES = {
    "build": "ecellm.dataset.build",
    "ingest": "ecellm.dataset.ingest",
    "preprocess": "ecellm.prompts.preprocess",
    "finetune": "ecellm.training.finetune",
    "evaluate": "ecellm.evaluation.evaluate",
}
_MAX_NEW_TOKENS_OF_OTHER_TASKS = 100  # the paper's limit, for tasks of the users' own


def load_stage(job: str) -> Stage[Any]:
    """Return the stage of a job.

    Args:
        job: build, ingest, preprocess, finetune, predict or evaluate.
    """
    if job == "predict":
        from ecellm.inference.predict import make_stage

        return make_stage(answer_space)
    stage: Stage[Any] = import_module(_MODULES[job]).STAGE
    return stage


def answer_space(row: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, int]:
    """Return the closed choices of a samples row, if any, and how many tokens its answer may have."""
    task = find_task(row["task"])
    if task is None:
        return None, _MAX_NEW_TOKENS_OF_OTHER_TASKS
    return task.choices(row), task.max_answer_tokens
