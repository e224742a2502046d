"""Product Relation Prediction: are two products bought together, viewed together, or similar?"""

import json

from ecellm.tasks.example import Example
from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.wire_options import options_text

# In the order of the options A, B, C.
RELATIONS = ("also_buy", "also_view", "similar_item")

TASK = LetterTask(
    name="Product_Relation_Prediction",
    short_name="PRP",
    description="How do two products relate: also bought, also viewed, similar? (A to C)",
    headline_metric="f1",
    aliases=("Product_Relation_Predicition",),
    answers_with_letter=True,
    max_answer_tokens=16,
)


def make_example(title_1: str, title_2: str, relation: int, source_ids: tuple[str, ...]) -> Example:
    """Return the example of a pair of titles, sorted by the caller.

    Args:
        title_1: raw title that sorts first.
        title_2: the other.
        relation: index in `RELATIONS`.
        source_ids: asins of the two.
    """
    text = json.dumps({"Product 1:": title_1, "Product 2:": title_2})
    return Example(text, "ABC"[relation], options_text("PRP"), source_ids=source_ids)
