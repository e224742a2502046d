"""A second, naive scorer of the released flavour, to compare the package's scorer with.

It is written from the rules alone and shares no code with the package, so a mistake has to be made twice to go
unseen. It is slow and plain on purpose. Answer_Generation is left out: its metrics need models.

Where the rules are silent or can be read in two ways, a comment that begins with "Reading:" says what was chosen.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

YES_NO_TASKS = ("Product_Matching", "Product_Substitute_Identification", "Answerability_Prediction")
OPTION_TASKS = ("Product_Relation_Prediction", "Sentiment_Analysis", "Multiclass_Product_Classification")
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Reading: the header that ends the prompt is the first one, so the first header inside a response is the second.
# Reading: the prompt format of a prediction is not known here, so the headers of both formats cut; "[/INST]" that is
# not exactly followed by " ### Response:" stays in the answer.
RESPONSE_HEADERS = ("[/INST] ### Response:", "### Response:")


def released_metrics(
    task: str,
    setting: str,
    predictions: Sequence[str],
    references: Sequence[str],
    relevance: Sequence[Sequence[str]] | None = None,
) -> dict[str, float]:
    """Score the responses of one task and setting by the rules of the released scorer.

    Args:
        task: The task's canonical name.
        setting: The release's setting; only Attribute_Value_Extraction depends on it.
        predictions: The raw responses.
        references: The rows' outputs, in the same order.
        relevance: For Query_Product_Ranking, the labels (E, S, C, I) of the candidates A, B, ... of each row.

    Returns:
        The task's metrics by name, and `num_invalid`.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    answers = [_answer(prediction) for prediction in predictions]
    if task == "Attribute_Value_Extraction":
        return _extraction_metrics(setting, answers, references)
    if task in YES_NO_TASKS:
        return _yes_no_metrics(answers, references)
    if task == "Sequential_Recommendation":
        return _recommendation_metrics(answers, references)
    if task in OPTION_TASKS:
        return _option_metrics(answers, references)
    if task == "Query_Product_Ranking":
        if relevance is None or len(relevance) != len(answers):
            raise ValueError("Query_Product_Ranking needs one list of relevance labels per prediction")
        return _ranking_metrics(answers, relevance)
    raise ValueError(f"no rules for task {task!r}")


def _answer(response: str) -> str:
    """Cut a response at the first header in it and strip it."""
    for header in RESPONSE_HEADERS:
        response = response.partition(header)[0]
    # Reading: what the cut leaves is stripped (again), for every task, AVE included. "Stripped" is Python's
    # str.strip(): all Unicode white space goes, NUL characters and byte order marks stay.
    return response.strip()


# --- Attribute_Value_Extraction -------------------------------------------------------------------------------------


def _extraction_metrics(setting: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Count hits, labels and predictions over all rows, then take the ratios.

    Reading: the counts are summed over all rows of the setting (micro average); the rules give no mean over rows.
    Reading: a row whose answer does not parse stays in: its labels count for recall.
    """
    # Reading: a setting is OOD when its name begins with "OOD".
    partial_hits = setting.startswith("OOD")
    hits = labels = predicted = invalid = 0
    for answer, reference in zip(answers, references, strict=True):
        row_labels = json.loads(reference)
        items, parsed = _parse_extraction(answer)
        row_predictions = [item for item in items if _is_prediction(item, row_labels, partial_hits)]
        invalid += not parsed
        labels += len(row_labels)
        predicted += len(row_predictions)
        hits += sum(_is_hit(label, prediction, partial_hits) for label in row_labels for prediction in row_predictions)
    recall = hits / labels if labels else 0.0
    precision = hits / (predicted + 1e-6)
    f1 = 2 * recall * precision / (recall + precision + 1e-6)
    return {"recall": recall, "precision": precision, "f1": f1, "num_invalid": float(invalid)}


def _parse_extraction(answer: str) -> tuple[list[Any], bool]:
    """Return the items of an answer's list, and whether it is JSON at all."""
    # Reading: "does not parse" is whatever json.loads raises on: bad JSON, nesting that is too deep for it
    # (RecursionError) and integers with more digits than Python converts (ValueError). NaN, Infinity and 1e999 parse,
    # and of duplicate keys the last one counts.
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError):
        return [], False
    # Reading: JSON that is not a list has no predictions but is not #invalid.
    if not isinstance(parsed, list):
        return [], True
    return parsed, True


def _is_prediction(item: Any, labels: Sequence[dict[str, Any]], partial_hits: bool) -> bool:
    """Whether a list item counts as a prediction: a dict with an "attribute".

    Reading: an attribute of any type makes a prediction, null too; it just never equals a label's.
    Reading: a dict with an attribute but without a value or a source is a prediction that cannot hit.
    Reading: nested lists are no predictions, whatever they contain.
    Reading: an item is no prediction where the original would stop at it, and only there: while it looks into an OOD
    source that is neither text nor null, which it does for a label of the same attribute and an overlapping value, and
    where a value of such an item is too deep to be written as text. A null source is "None": it stays a prediction,
    and never hits. (The first reading, settled otherwise, had no item with such a source as a prediction in any
    setting: but in domain the original prints figures that count it.)
    """
    if not isinstance(item, dict) or "attribute" not in item:
        return False
    try:
        return not any(_stops(item, label, partial_hits) for label in labels)
    except RecursionError:
        return False


def _stops(item: dict[str, Any], label: dict[str, Any], partial_hits: bool) -> bool:
    """Whether the original cannot compare an item with a label."""
    if not partial_hits or not {"value", "source"} <= item.keys() or item["attribute"] != label["attribute"]:
        return False
    value, source = item["value"], item["source"]
    if value is None or source is None or (value == label["value"] and source == label["source"]):
        return False
    return _overlap(str(value), str(label["value"])) and not isinstance(source, str)


def _is_hit(label: dict[str, Any], prediction: dict[str, Any], partial_hits: bool) -> bool:
    """Whether a prediction hits a label."""
    if not {"attribute", "value", "source"} <= prediction.keys():
        return False
    # Reading: attributes are compared as they are in every setting: no case folding, no stripping.
    if prediction["attribute"] != label["attribute"]:
        return False
    # Reading: equality in full does not turn values into text: the number 5 is not the label "5".
    if prediction["value"] == label["value"] and prediction["source"] == label["source"]:
        return True
    return (
        partial_hits
        and _overlap(_as_text(prediction["value"]), _as_text(label["value"]))
        and _overlap(prediction["source"], label["source"])
    )


def _as_text(value: object) -> str | None:
    """Return a value as text for the partial comparison; None for what cannot hit."""
    # Reading: "None never hits" is JSON's null, as value or as source. The text "None" is a text like any other, and
    # hits a label that contains it.
    if value is None:
        return None
    # Reading: "as text" is Python's str(): True, nan, inf, "['red']", "{'a': 1}".
    return str(value)


def _overlap(prediction: str | None, label: str | None) -> bool:
    """Whether one text contains the other; case counts, and "" is in everything."""
    if prediction is None or label is None:
        return False
    return prediction in label or label in prediction


# --- yes or no ------------------------------------------------------------------------------------------------------


def _yes_no_metrics(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Score the rows that answer yes or no; the others are dropped."""
    labels, predictions = [], []
    for answer, reference in zip(answers, references, strict=True):
        # Reading: nothing but white space and case is forgiven ("yes." is dropped).
        if answer.lower().strip() in ("yes", "no"):
            predictions.append(int(answer.lower().strip() == "yes"))
            # Reading: the reference is lower-cased and stripped like the answer.
            labels.append(int(reference.lower().strip() == "yes"))
    pairs = list(zip(labels, predictions, strict=True))
    true_no, false_yes, false_no = pairs.count((0, 0)), pairs.count((0, 1)), pairs.count((1, 0))
    return {
        **_sklearn_metrics(labels, predictions, "binary"),
        # Reading: where only one class remains, "the limits" are these formulas with the missing counts at 0.
        "specificity": true_no / (true_no + false_yes + 1e-8),
        "npr": true_no / (true_no + false_no + 1e-8),
        "num_invalid": float(len(answers) - len(pairs)),
    }


def _sklearn_metrics(labels: Sequence[Any], predictions: Sequence[Any], average: str) -> dict[str, float]:
    """Return scikit-learn's accuracy, recall, precision and F1; zeros where no row is left."""
    if not labels:
        return {"acc": 0.0, "recall": 0.0, "precision": 0.0, "f1": 0.0}
    return {
        "acc": float(accuracy_score(labels, predictions)),
        "recall": float(recall_score(labels, predictions, average=average, zero_division=0)),
        "precision": float(precision_score(labels, predictions, average=average, zero_division=0)),
        "f1": float(f1_score(labels, predictions, average=average, zero_division=0)),
    }


# --- options --------------------------------------------------------------------------------------------------------


def _recommendation_metrics(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the share of right letters among the answers that are one letter."""
    # Reading: upper-case A..T only, whether or not the row has twenty options.
    letters = set("ABCDEFGHIJKLMNOPQRST")
    # Reading: the reference is stripped like the answer.
    kept = [
        (answer, reference.strip()) for answer, reference in zip(answers, references, strict=True) if answer in letters
    ]
    right = sum(answer == reference for answer, reference in kept)
    return {
        "recall@1": right / len(kept) if kept else 0.0,
        "num_invalid": float(len(answers) - len(kept)),
    }


def _option_metrics(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Score the first letters of the answers; rows whose answer has no letter A..E are dropped."""
    # Reading: upper-case A..E for all three tasks, however many options a row has. The first character is the first
    # code point, so what follows does not matter: "Apple" is A, and so is A with a combining accent.
    # Reading: the reference is stripped, then its first character is the label.
    kept = [
        (answer[0], reference.strip()[0])
        for answer, reference in zip(answers, references, strict=True)
        if answer and answer[0] in "ABCDE"
    ]
    # Reading: "classes that occur in labels or predictions" looks at the kept rows only.
    predictions = [prediction for prediction, _ in kept]
    labels = [label for _, label in kept]
    return {**_sklearn_metrics(labels, predictions, "macro"), "num_invalid": float(len(answers) - len(kept))}


# --- Query_Product_Ranking ------------------------------------------------------------------------------------------


def _ranking_metrics(answers: Sequence[str], relevance: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the mean NDCG over all rows."""
    # Reading: the reference is not used; the relevance labels say it all.
    total, invalid = 0.0, 0
    for answer, labels in zip(answers, relevance, strict=True):
        gains, skipped = _ranked_gains(answer, labels)
        total += _dcg(gains) / (_dcg(sorted(gains, reverse=True)) + 1e-6)
        # Reading: #invalid counts skipped parts, not rows; an empty answer is one empty part.
        invalid += skipped
    # Reading: rows without any kept letter stay in the mean with an NDCG of 0.
    return {"ndcg": total / len(answers) if answers else 0.0, "num_invalid": float(invalid)}


def _ranked_gains(answer: str, labels: Sequence[str]) -> tuple[list[float], int]:
    """Return the gains of an answer's candidates in its order, and how many parts were skipped."""
    # Reading: letters are upper-case. A repeated letter is kept, and gains, each time; the ideal repeats it as well.
    gain_of = {letter: GAINS[label] for letter, label in zip(ALPHABET, labels, strict=False)}
    gains, skipped = [], 0
    for part in answer.split(","):
        if part[:1] in gain_of:
            gains.append(gain_of[part[0]])
        else:
            skipped += 1
    return gains, skipped


def _dcg(gains: Sequence[float]) -> float:
    """Return the discounted cumulative gain."""
    # Reading: ranks count what was kept: a skipped part takes no rank.
    return sum((2**gain - 1) / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
