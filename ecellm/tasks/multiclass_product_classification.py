"""Multiclass Product Classification: how well does a product fit a query, on the four levels of ESCI?"""

import json

from ecellm.tasks.example import Example
from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.wire_options import option_list, options_text

_LABELS = "ESCI"  # in the order of the options

TASK = LetterTask(
    name="Multiclass_Product_Classification",
    short_name="MPC",
    description="How relevant is a product to a query: exact, substitute, complement, irrelevant? (A to D)",
    headline_metric="acc",
    answers_with_letter=False,
    max_answer_tokens=48,
)


def make_example(query: str, title: str, label: str, source_ids: tuple[str, ...]) -> Example:
    """Return the example of a judged product: its ESCI label as one of the options A to D.

    Args:
        query: normalised query.
        title: normalised title.
        label: E, S, C or I.
        source_ids: product, query, judgement.
    """
    text = json.dumps({"query": query, "product title": title})
    answer = option_list("MPC")[_LABELS.index(label)]
    return Example(text, answer, options_text("MPC"), source_ids=source_ids)
