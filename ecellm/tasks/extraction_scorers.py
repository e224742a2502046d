"""How lists of {attribute, value, source} are scored: recall, precision and F1 over all of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ecellm.json_text import read_json
from ecellm.tasks.scorer import RELEASED, STRICT, FloatArray, RowScore, Sample, Scorer, ratio

KEYS = ("attribute", "value", "source")
_COUNTS = ("hits", "num_predicted", "num_gold")
_EPSILON = 1e-6


def _labels_of(output: str) -> list[dict[str, Any]]:
    """Return the objects of a reference; like the released scorer, one that is no JSON has none."""
    try:
        labels = read_json(output)
    except ValueError:
        return []
    if not isinstance(labels, list):
        return []
    return [label for label in labels if isinstance(label, dict) and all(key in label for key in KEYS)]


def _matrix(rows: Sequence[RowScore], names: Sequence[str]) -> FloatArray:
    return np.array([[row.components[name] for name in names] for row in rows], float).reshape(-1, len(names))


def _is_hit(item: Mapping[str, Any], label: Mapping[str, Any], *, is_lenient: bool) -> bool | None:
    """Compare a predicted object with a label; None where the released scorer cannot and stops."""
    if not all(key in item for key in KEYS):
        return False
    if all(item[key] == label[key] for key in KEYS):
        return True
    if not is_lenient or item["attribute"] != label["attribute"] or item["value"] is None or item["source"] is None:
        return False
    value, true_value = str(item["value"]), str(label["value"])
    if value not in true_value and true_value not in value:
        return False
    source, true_source = item["source"], str(label["source"])
    return (source in true_source or true_source in source) if isinstance(source, str) else None


def _verdicts(item: Any, labels: Sequence[Mapping[str, Any]], *, is_lenient: bool) -> list[bool] | None:
    """Compare an item with every label; None if it is no prediction."""
    if not isinstance(item, dict) or "attribute" not in item:
        return None
    try:
        verdicts = [_is_hit(item, label, is_lenient=is_lenient) for label in labels]
    except RecursionError:  # nested so deeply that Python cannot compare it, or write it as text
        return None
    return None if None in verdicts else [bool(verdict) for verdict in verdicts]


def count_hits(items: Sequence[Any], labels: Sequence[Mapping[str, Any]], *, is_lenient: bool) -> tuple[int, int]:
    """Return hits and predictions of one answer as the released scorer counts them.

    A prediction is an object with an `attribute`. It hits every label that it equals in all three keys; the lenient
    rule (out-of-domain settings) also accepts an equal attribute with a value and a source of which each contains, or
    is contained in, the label's. Labels and predictions are compared all with all: a repeated prediction hits again.
    Items on which the released scorer stops (numbers, null, texts, a source that is no text where sources are
    searched) are no predictions here.
    """
    compared = (_verdicts(item, labels, is_lenient=is_lenient) for item in items)
    predictions = [verdicts for verdicts in compared if verdicts is not None]
    return sum(map(sum, predictions)), len(predictions)


class ReleasedExtractionScorer(Scorer):
    """Compares all labels with all predictions, as `count_hits` says; JSON that is no list is valid and has none.

    recall r = hits / labels, precision p = hits / (predictions + 1e-6), f1 = 2 r p / (r + p + 1e-6), all over the sums
    of all rows; as a repeated prediction hits again, they can exceed 1. Source: the released scorer.
    """

    flavour = RELEASED
    metric_names = ("recall", "precision", "f1")

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Count hits, predictions and labels."""
        labels = _labels_of(sample["output"])
        components = {"hits": 0.0, "num_predicted": 0.0, "num_gold": float(len(labels))}
        try:
            items = read_json(answer)
        except ValueError:
            return RowScore(None, is_valid=False, reference=sample["output"], components=components, num_invalid=1)
        if isinstance(items, list):
            hits, predicted = count_hits(items, labels, is_lenient="OOD" in sample["setting"])
            components |= {"hits": float(hits), "num_predicted": float(predicted)}
        return RowScore(answer, is_valid=True, reference=sample["output"], components=components, num_invalid=0)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hits, predictions, labels."""
        return _matrix(rows, _COUNTS)

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        hits, num_predicted, num_gold = np.moveaxis(sums, -1, 0)
        recall, precision = ratio(hits, num_gold), hits / (num_predicted + _EPSILON)
        return {
            "recall": recall,
            "precision": precision,
            "f1": 2 * recall * precision / (recall + precision + _EPSILON),
        }


def _texts(item: Any) -> tuple[str, ...] | None:
    """Return attribute, value and source of an item; None unless all three are texts."""
    values = [item.get(key) for key in KEYS] if isinstance(item, dict) else []
    texts = tuple(value for value in values if isinstance(value, str))
    return texts if len(texts) == len(KEYS) else None


def _attribute(item: Any) -> str | None:
    """Return the attribute that an item is about; None if it names none by text."""
    name = item.get("attribute") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def _num_matches(items: Iterable[Any], labels: Iterable[Any], num_keys: int) -> int:
    """Count pairs that are equal in the first `num_keys` of attribute, value, source; each has one partner at most."""
    predicted, gold = (
        Counter(texts[:num_keys] for item in side if (texts := _texts(item))) for side in (items, labels)
    )
    return (predicted & gold).total()


def _counts(items: Sequence[Any], labels: Sequence[Any]) -> dict[str, float]:
    return {
        "hits": float(_num_matches(items, labels, 3)),
        "num_predicted": float(len(items)),
        "num_gold": float(len(labels)),
        "value_hits": float(_num_matches(items, labels, 2)),
    }


class StrictExtractionScorer(Scorer):
    """Matches predictions and labels one to one by exact equality, in domain and out of domain alike.

    A prediction is any item of the answer's list, so that nothing in it is free: one that is no object, or whose
    attribute, value and source are not all texts, matches nothing and counts as predicted. An answer that is no JSON is
    invalid and predicts nothing; other JSON than a list is invalid too and counts as one prediction that matches
    nothing. A label and a prediction have one partner at most: a repeated prediction is wrong unless its label is
    repeated too. With sums over all rows, where hits are matches of attribute, value and source,

        recall = hits / labels    precision = hits / predictions    f1 = 2 hits / (labels + predictions)

    and `value_recall`, `value_precision`, `value_f1` likewise, with matches of attribute and value. 0 where a
    denominator is 0. Source: micro-averaged precision, recall and F1 as usual for extraction; matching is multiset
    intersection.

    The parts of a row are the attributes of its labels: a part counts labels and predictions of that attribute.
    Predictions of other attributes count in the whole alone.
    """

    flavour = STRICT
    metric_names = ("recall", "precision", "f1", "value_recall", "value_precision", "value_f1")
    part_name = "attribute"

    def _score(self, sample: Sample, answer: str) -> RowScore:
        """Count matches, predictions and labels, of the whole and of each attribute."""
        reference, labels = sample["output"], _labels_of(sample["output"])
        items, is_valid = _items_of(answer)
        parts = {
            name: _row_score(answer, reference, of_predictions, of_labels, is_valid=is_valid)
            for name, of_predictions, of_labels in _by_attribute(items, labels)
        }
        return _row_score(answer, reference, items, labels, is_valid=is_valid, parts=parts)

    def statistics(self, rows: Sequence[RowScore]) -> FloatArray:
        """Return hits, predictions, labels, hits by value."""
        return _matrix(rows, (*_COUNTS, "value_hits"))

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """Return the figures of the class's formulas."""
        hits, num_predicted, num_gold, value_hits = np.moveaxis(sums, -1, 0)
        return {
            f"{prefix}{name}": ratio(factor * matches, denominator)
            for prefix, matches in (("", hits), ("value_", value_hits))
            for name, factor, denominator in (
                ("recall", 1, num_gold),
                ("precision", 1, num_predicted),
                ("f1", 2, num_gold + num_predicted),
            )
        }


def _items_of(answer: str) -> tuple[list[Any], bool]:
    """Return the predictions of an answer, and whether it is valid."""
    try:
        value = read_json(answer)
    except ValueError:
        return [], False
    return (value, True) if isinstance(value, list) else ([None], False)


def _by_attribute(items: Sequence[Any], labels: Sequence[Any]) -> list[tuple[str, list[Any], list[Any]]]:
    """Return the attributes of the labels in order, each with the items and the labels about it."""
    groups: dict[str, tuple[list[Any], list[Any]]] = {}
    for label in labels:
        if (name := _attribute(label)) is not None:
            groups.setdefault(name, ([], []))[1].append(label)
    for item in items:
        if (name := _attribute(item)) is not None and name in groups:
            groups[name][0].append(item)
    return [(name, *group) for name, group in groups.items()]


def _row_score(
    answer: str,
    reference: str,
    items: Sequence[Any],
    labels: Sequence[Any],
    *,
    is_valid: bool,
    parts: Mapping[str, RowScore] | None = None,
) -> RowScore:
    return RowScore(
        parsed=answer if is_valid else None,
        is_valid=is_valid,
        reference=reference,
        components=_counts(items, labels),
        num_invalid=int(not is_valid),
        parts=parts or {},
    )
