"""Attribute Value Extraction: find the values of given attributes in a product's texts, and where they stand."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecellm.tasks.example import Example
from ecellm.tasks.task import FloatArray, RowScore, Sample, Task, ratio
from ecellm.tasks.trivial_answers import most_frequent

_KEYS = ("attribute", "value", "source")
_EPSILON = 1e-6


def _is_hit(item: Mapping[str, Any], label: Mapping[str, Any], *, is_lenient: bool) -> bool | None:
    """Compare a predicted object with a label; None where the released scorer cannot and stops."""
    if not all(key in item for key in _KEYS):
        return False
    if all(item[key] == label[key] for key in _KEYS):
        return True
    if not is_lenient or item["attribute"] != label["attribute"] or item["value"] is None or item["source"] is None:
        return False
    value, true_value = str(item["value"]), str(label["value"])
    if value not in true_value and true_value not in value:
        return False
    source, true_source = item["source"], str(label["source"])
    return (source in true_source or true_source in source) if isinstance(source, str) else None


def count_hits(items: Sequence[Any], labels: Sequence[Mapping[str, Any]], *, is_lenient: bool) -> tuple[int, int]:
    """Return hits and predictions of one answer.

    A prediction is an object with an `attribute`. It hits every label that it equals in all three keys; the lenient
    rule (out-of-domain settings) also accepts an equal attribute with a value and a source of which each contains, or
    is contained in, the label's. Labels and predictions are compared all with all: a repeated prediction hits again.
    Items on which the released scorer stops (numbers, null, texts, a source that is no text where sources are
    searched, an attribute that is a list or an object) are no predictions here.
    """
    num_hits = num_predicted = 0
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("attribute", []), Hashable):
            continue
        verdicts = [_is_hit(item, label, is_lenient=is_lenient) for label in labels]
        if None not in verdicts:
            num_predicted += 1
            num_hits += sum(map(bool, verdicts))
    return num_hits, num_predicted


def _labels_of(output: str) -> list[dict[str, Any]]:
    """Return the objects of a reference; like the released scorer, one that is no JSON has none."""
    try:
        labels = json.loads(output)
    except (ValueError, RecursionError):
        return []
    if not isinstance(labels, list):
        return []
    return [label for label in labels if isinstance(label, dict) and all(key in label for key in _KEYS)]


@dataclass(frozen=True, kw_only=True)
class ExtractionTask(Task):
    """A task whose answer is a JSON list of objects with attribute, value and source."""

    headline_metric: str = "f1"
    metric_names: tuple[str, ...] = ("recall", "precision", "f1")

    def _score_released(self, sample: Sample, answer: str) -> RowScore:
        """Count hits, predictions and labels; JSON that is no list is valid, with no predictions."""
        labels = _labels_of(sample["output"])
        components = {"hits": 0.0, "num_predicted": 0.0, "num_gold": float(len(labels))}
        try:
            items = json.loads(answer)
        except (ValueError, RecursionError):
            return RowScore(None, is_valid=False, reference=sample["output"], components=components, num_invalid=1)
        if isinstance(items, list):
            hits, predicted = count_hits(items, labels, is_lenient="OOD" in sample["setting"])
            components |= {"hits": float(hits), "num_predicted": float(predicted)}
        return RowScore(answer, is_valid=True, reference=sample["output"], components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hits, predictions, labels."""
        names = ("hits", "num_predicted", "num_gold")
        return np.array([[row.components[name] for name in names] for row in rows], float).reshape(-1, len(names))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the released scorer's figures over all labels and predictions.

        recall r = hits / labels, precision p = hits / (predictions + 1e-6), f1 = 2 r p / (r + p + 1e-6).
        """
        hits, num_predicted, num_gold = np.moveaxis(sums, -1, 0)
        recall, precision = ratio(hits, num_gold), hits / (num_predicted + _EPSILON)
        return {
            "recall": recall,
            "precision": precision,
            "f1": 2 * recall * precision / (recall + precision + _EPSILON),
        }

    def trivial_answers(self, samples: Sequence[Sample], seed: int) -> dict[str, list[str]]:  # noqa: ARG002
        """Return always the most frequent reference."""
        return {"most-frequent-answer": most_frequent([sample["output"] for sample in samples])}


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
    output = [dict(zip(_KEYS, item, strict=True)) for item in found]
    return Example(json.dumps(fields), json.dumps(output), source_ids=source_ids)
