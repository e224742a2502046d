"""Answerability Prediction: do review snippets hold the answer to a question about a product?"""

import json
from collections.abc import Sequence

from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.example import Example

TASK = BinaryTask(
    name="Answerability_Prediction",
    short_name="AP",
    description="Can a question about a product be answered from its reviews? (yes, no)",
)


def question_input(question: str, snippets: Sequence[str]) -> str:
    """Return the input of AP and AG: the question, and the review snippets as its document."""
    return json.dumps({"question": question, "document": list(snippets)})


def make_example(
    question: str, snippets: Sequence[str], *, is_answerable: bool, source_ids: tuple[str, ...]
) -> Example:
    """Return the example of a question: yes if its reviews answer it."""
    return Example(question_input(question, snippets), "yes" if is_answerable else "no", source_ids=source_ids)
