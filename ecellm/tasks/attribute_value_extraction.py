"""Attribute Value Extraction: find the values of given attributes in a product's texts, and where they stand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ecellm.tasks.example import Example
from ecellm.tasks.extraction_scorers import KEYS, ReleasedExtractionScorer, StrictExtractionScorer
from ecellm.tasks.scorer import Samples, Scorer
from ecellm.tasks.task import Task
from ecellm.tasks.trivial_answers import most_frequent


@dataclass(frozen=True, kw_only=True)
class ExtractionTask(Task):
    """A task whose answer is a JSON list of objects with attribute, value and source."""

    headline_metric: str = "f1"

    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of extractions."""
        return ReleasedExtractionScorer(), StrictExtractionScorer()

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:  # noqa: ARG002
        """Return always the most frequent reference."""
        return {"most-frequent-answer": most_frequent(sample["output"] for sample in samples)}


TASK = ExtractionTask(
    name="Attribute_Value_Extraction",
    short_name="AVE",
    description="Extract the values of given attributes, with their source, from a product's texts (JSON)",
)


Evidence = tuple[str, int]
NOTHING = "None"


def make_example(
    paragraphs: Sequence[tuple[str, str]],
    attributes: Sequence[tuple[str, Sequence[Evidence]]],
    source_ids: tuple[str, ...],
) -> Example:
    """Return the example of a product.

    Input: the texts of each source joined by ", " under "product <source>", in order of appearance, then the target
    attributes' names joined by " and ". Output: a JSON list of {attribute, value, source}, all lower-cased, without
    repeats; an attribute without evidence has value and source "None". Source: ecinstruct's rules for AVE.

    Args:
        paragraphs: (text, source) in order.
        attributes: (name, evidences) in order; an evidence is (value, index of its paragraph).
        source_ids: the product, and what else says where it comes from.
    """
    texts: dict[str, list[str]] = {}
    for text, source in paragraphs:
        texts.setdefault(f"product {source}", []).append(text)
    fields = {source: ", ".join(parts) for source, parts in texts.items()}
    fields["target attributes"] = " and ".join(name for name, _ in attributes)
    found: dict[tuple[str, str, str], None] = {}
    for name, evidences in attributes:
        for value, paragraph in evidences:
            found[name.lower(), value.lower(), f"product {paragraphs[paragraph][1]}".lower()] = None
        if not evidences:
            found[name.lower(), NOTHING, NOTHING] = None
    output = [dict(zip(KEYS, item, strict=True)) for item in found]
    return Example(json.dumps(fields), json.dumps(output), source_ids=source_ids)
