"""What a sample says, taken apart: the texts that models for one task read, and the class that they learn."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ecellm.json_text import read_json
from ecellm.tasks import Task
from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.sequential_recommendation import list_items
from ecellm.tasks.wire_options import option_list

Row = Mapping[str, Any]
_LIST_LABEL = re.compile(r"^(?:\d+(?:st|nd|rd|th)|[A-Z]): ")


def text_pair(sample_input: str) -> tuple[str, str | None]:
    """Return the two texts of an input such as `{"query": ..., "product": ...}`; the whole input and None for others.

    The values of a nested object or list are joined by spaces, in their order; what is missing (null, NaN) is left out.
    """
    try:
        fields = read_json(sample_input)
    except ValueError:
        return sample_input, None
    if not isinstance(fields, dict) or len(fields) != 2:
        return sample_input, None
    first, second = map(_joined, fields.values())
    return first, second


def _joined(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(filter(None, map(_joined, value.values())))
    if isinstance(value, list):
        return " ".join(filter(None, map(_joined, value)))
    is_missing = value is None or str(value).lower() == "nan"
    return "" if is_missing else str(value)


def query_and_products(sample_input: str) -> tuple[str, list[str]] | None:
    """Return the query and the candidates of a ranking's input, their letters taken off; None if it is none."""
    try:
        fields = read_json(sample_input)
    except ValueError:
        return None
    products = fields.get("product list") if isinstance(fields, dict) else None
    if not isinstance(products, list) or not all(isinstance(product, str) for product in products):
        return None
    return str(fields.get("query", "")), [_LIST_LABEL.sub("", product) for product in products]


def listed_texts(text: str | None) -> tuple[str, ...] | None:
    """Return the items of an input or of options of Sequential Recommendation, their labels (`1st: `, `A: `) taken off.

    None if `text` is no list of them.
    """
    items = list_items(text)
    return items and tuple(_LIST_LABEL.sub("", item) for item in items)


def classes_of(task: Task) -> tuple[str, ...]:
    """Return the classes of a classification task: yes and no, or the letters of its options; () for other tasks."""
    if isinstance(task, BinaryTask):
        return "yes", "no"
    if isinstance(task, LetterTask):
        return tuple(text[0] for text in option_list(task.short_name))
    return ()


def class_of(task: Task, row: Row) -> str | None:
    """Return the class of a sample's reference; None if it is none of the task's."""
    reference = str(row["output"]).strip()
    found = reference.lower() if isinstance(task, BinaryTask) else reference[:1]
    return found if found in classes_of(task) else None


def answer_of(task: Task, row: Row, name: str) -> str:
    """Return the text that the task expects for a class: of the sample's own options, the one of that letter."""
    choices: Sequence[str] = task.choices(row) or ()
    return next((choice for choice in choices if choice.startswith(name)), name)
