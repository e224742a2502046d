"""From the paper's result tables, written down as JSON, to rows of the metrics table.

Source of the figures: the eCeLLM paper (arXiv 2402.08831, ICML 2024) and the result tables that its authors published
(preprint of February 2024). The JSON holds them as they are printed:

    {"tables": {"PM": {"columns": ["IND Acc", "IND R", ..., "IND #fail"], "rows": {"GPT-4 Turbo": [0.826, ...], ...}}}}

Columns up to and with a `#fail` (answers that could not be read) are one test: of the task that the table, or the
column's first word, names, and of the domain in the column's name (QPR has an in-domain test alone, and its columns
name none). A table of two tasks, `SR/QPR`, names two models in its task-specific rows, one for each task; each task
gets its own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.dataset.counts import published_count
from ecellm.dataset.partitions import Partition
from ecellm.errors import InputError
from ecellm.evaluation.metric_rows import Answers, MetricRow, blank_row
from ecellm.tasks import RELEASED, TASKS, Task, task_named

ROLE = "published"
PREFIX = "published-"
TASK_SPECIFIC = "SoTA: "
FAMILY = {
    "GEN Llama-2 13B-chat": "eCeLLM-L",
    "GEN Mistral-7B Instruct-v0.2": "eCeLLM-M",
    "GEN Phi-2": "eCeLLM-S",
}
_FAILED = "#fail"
_METRICS = {
    "Acc": "acc",
    "R": "recall",
    "P": "precision",
    "F1": "f1",
    "Spec": "specificity",
    "NPR": "npr",
    "M-R": "recall",
    "M-P": "precision",
    "M-F1": "f1",
    "R*": "recall",
    "P*": "precision",
    "F1*": "f1",
    "HR@1": "recall@1",
    "NDCG": "ndcg",
    "R_B": "bertscore_recall",
    "P_B": "bertscore_precision",
    "F_B": "bertscore_f1",
    "BLEURT": "bleurt",
}


@dataclass(frozen=True)
class _Test:
    """One test of one task: the columns of a table that belong to it.

    Attributes:
        task: which task.
        setting: which test.
        num_samples: its rows in the released data.
        model_place: which of the models that a task-specific row names is the one of this task.
        metrics: place of the column and metric, in the table's order.
        failed: place of the column of unreadable answers.
    """

    task: Task
    setting: str
    num_samples: int
    model_place: int
    metrics: tuple[tuple[int, str], ...]
    failed: int


def metric_rows_of(source: Mapping[str, Any]) -> list[MetricRow]:
    """Return all figures as rows of the metrics table, by task, then IND before OOD, then in the tables' order.

    Args:
        source: the JSON, as the module describes it.

    Raises:
        InputError: a table, a column or a row is not of that form.
    """
    found = [
        (test, name, figures)
        for title, table in source["tables"].items()
        for test in _tests(title, table["columns"])
        for name, figures in _checked_rows(title, table)
    ]
    order = {task.name: number for number, task in enumerate(TASKS)}
    found.sort(key=lambda item: (order[item[0].task.name], item[0].setting))  # stable: rows keep their order
    return [row for test, name, figures in found for row in _metric_rows(test, name, figures)]


def _checked_rows(title: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[float]]]:
    for name, figures in table["rows"].items():
        if len(figures) != len(table["columns"]):
            raise InputError(f"table {title}: {name} has {len(figures)} figures in {len(table['columns'])} columns")
        yield name, figures


def _tests(title: str, columns: Sequence[str]) -> Iterator[_Test]:
    """Yield what the columns of a table, cut behind each `#fail`, are about."""
    start = 0
    for place, column in enumerate(columns):
        if column.split()[-1] == _FAILED:
            yield _test(title, list(enumerate(columns))[start:place], place)
            start = place + 1
    if start < len(columns) or not columns:
        raise InputError(f"table {title}: its last column must be {_FAILED}, not {columns[-1:]}")


def _test(title: str, columns: Sequence[tuple[int, str]], failed: int) -> _Test:
    names = title.split("/")
    tasks, domains, metrics = set(), set(), []
    for place, column in columns:
        *words, metric = column.split()
        if metric not in _METRICS or not {*words} <= {*names, "IND", "OOD"}:
            raise InputError(f"table {title}: unknown column {column!r}; metrics are {', '.join(_METRICS)}")
        tasks.add(next((name for name in names if name in words), names[0]))
        domains.add("OOD" if "OOD" in words else "IND")
        metrics.append((place, _METRICS[metric]))
    if len(tasks) != 1 or len(domains) != 1:
        raise InputError(f"table {title}: {[column for _, column in columns]} must be of one task and one domain")
    (name,), (domain,) = tasks, domains
    task, setting = task_named(name), f"{domain}_Diverse_Instruction"
    num_samples = published_count(Partition(setting, "test", task.name))
    if not num_samples:
        raise InputError(f"table {title}: {task.name} has no test in {setting}")
    return _Test(task, setting, num_samples, names.index(name), tuple(metrics), failed)


def _metric_rows(test: _Test, name: str, figures: Sequence[float]) -> Iterator[MetricRow]:
    model = _own_model(name, test.model_place)
    answers = Answers(
        run_id=PREFIX + _slug(FAMILY.get(model, model)),
        model=f"{FAMILY[model]} ({model})" if model in FAMILY else model,
        decoding=None,  # the tables do not say it of every row
        role=ROLE,
        task=test.task.name,
        split="test",
        setting=test.setting,
        samples_fingerprint="",  # of the release; no directory of samples was fingerprinted
    )
    for place, metric in test.metrics:
        num_invalid = int(figures[test.failed])
        row = blank_row(answers, RELEASED, metric, num_samples=test.num_samples, num_invalid=num_invalid)
        yield row | {"value": float(figures[place]), "is_headline": metric == test.task.headline_metric}


def _own_model(name: str, place: int) -> str:
    """Return the model of one task: `SoTA: gSASRec / BERT` is gSASRec for the first task, BERT for the second."""
    if not name.startswith(TASK_SPECIFIC) or " / " not in name:
        return name
    return TASK_SPECIFIC + name.removeprefix(TASK_SPECIFIC).split(" / ")[place]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
