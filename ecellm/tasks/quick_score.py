"""A quick look at answers, as during training: how many are right, by task."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ecellm.tasks import find_task
from ecellm.tasks.scorer import answer_text

# Compared with references by language models, which no quick look loads.
_NOT_SCORED = ("Answer_Generation",)
# Scored by parts, or by what else a sample says: here the whole answer counts.
_COMPARED_AS_TEXT = ("Attribute_Value_Extraction", "Query_Product_Ranking")


def can_score(task: str) -> bool:
    """Tell whether answers to a task can be scored at a glance; those to tasks of the users' own can."""
    known = find_task(task)
    return known is None or known.name not in _NOT_SCORED


def share_right(
    tasks: Sequence[str], settings: Sequence[str], references: Sequence[str], answers: Sequence[str]
) -> dict[str, float]:
    """Return the share of right answers by short task name, in the order of the names.

    An answer is right if the task's scorer reads it as it reads the reference; for AVE, QPR and tasks of the users'
    own, if its text is the reference's. Answers that cannot be parsed are wrong. Answers of AG are not looked at.

    Args:
        tasks: task of each answer, as a sample names it.
        settings: setting of each.
        references: the true answers.
        answers: what the model answered.
    """
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for name, setting, reference, answer in zip(tasks, settings, references, answers, strict=True):
        if can_score(name):
            task = find_task(name)
            right[task.short_name if task else name].append(_is_right(name, setting, reference, answer))
    return {name: sum(own) / len(own) for name, own in sorted(right.items())}


def _is_right(name: str, setting: str, reference: str, answer: str) -> bool:
    task = find_task(name)
    if task is None or task.name in _COMPARED_AS_TEXT:
        return answer_text(answer) == answer_text(reference)
    sample: Mapping[str, str | None] = {
        "task": name, "setting": setting, "output": answer_text(reference), "options": None
    }  # fmt: skip
    return task.scorer().score(sample, answer).components["correct"] == 1.0
