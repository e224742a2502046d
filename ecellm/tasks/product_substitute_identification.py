"""Product Substitute Identification: could a product stand in for the one that a query asks for?"""

import json

from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.example import Example

TASK = BinaryTask(
    name="Product_Substitute_Identification",
    short_name="PSI",
    description="Is a product a functional substitute for what a query asks for? (yes, no)",
    aliases=("Product_Substitue_Identification",),
)


def make_example(query: str, title: str, label: str, source_ids: tuple[str, ...]) -> Example:
    """Return the example of a judged product: yes if its ESCI label is S.

    Args:
        query: normalised query.
        title: normalised title.
        label: E, S, C or I.
        source_ids: product, query, judgement.
    """
    text = json.dumps({"query": query, "product": title})
    return Example(text, "yes" if label == "S" else "no", source_ids=source_ids)
