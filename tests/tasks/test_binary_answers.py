"""Yes-or-no tasks against scikit-learn, in both flavours."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ecellm.tasks import task_named

TASK = task_named("PSI")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")


def figures(references, responses, scorer=RELEASED):
    rows = [scorer.score({"output": ref}, answer) for ref, answer in zip(references, responses, strict=True)]
    return scorer.metrics(scorer.statistics(rows).sum(0)), rows


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("references", "answers"),
    [
        (["yes", "no"], ["yes", "no", "maybe"]),
        (["yes"], ["yes", "no"]),
        (["no"], ["yes", "no"]),
        (["yes", "no"], ["yes"]),
        (["yes", "no"], ["no"]),
        (["no"], ["no"]),
    ],
)
def test_figures_are_those_of_scikit_learn_on_the_valid_rows(seed, references, answers):
    rng = np.random.default_rng(seed)
    true, said = rng.choice(references, 40).tolist(), rng.choice(answers, 40).tolist()
    valid = [(ref, answer) for ref, answer in zip(true, said, strict=True) if answer != "maybe"]
    labels, predictions = zip(*valid, strict=True)
    values, rows = figures(true, said)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, pos_label="yes", average="binary", labels=["no", "yes"], zero_division=0
    )
    tn = sum(ref == answer == "no" for ref, answer in valid)
    num_no, num_said_no = labels.count("no"), predictions.count("no")
    assert values["acc"] == pytest.approx(accuracy_score(labels, predictions))
    assert (values["precision"], values["recall"], values["f1"]) == pytest.approx((precision, recall, f1))
    assert values["specificity"] == pytest.approx(tn / (num_no + 1e-8))
    assert values["npr"] == pytest.approx(tn / (num_said_no + 1e-8))
    assert sum(row.num_invalid for row in rows) == said.count("maybe")


def test_only_yes_and_no_in_any_case_are_answers():
    for response, parsed in [("Yes", "yes"), (" NO \n", "no"), ("yes.", None), ("no, it is not", None), ("", None)]:
        row = RELEASED.score({"output": "yes"}, response)
        assert (row.parsed, row.is_valid, row.num_invalid) == (parsed, parsed is not None, int(parsed is None))
        assert row.components["correct"] == (None if parsed is None else float(parsed == "yes"))


def test_without_a_valid_row_all_figures_are_zero():
    values, _ = figures(["yes", "no"], ["?", "?"])
    assert set(values) == set(RELEASED.metric_names)
    assert all(value == 0 for value in values.values())


def test_metrics_of_many_sums_at_once_equal_those_one_by_one():
    sums = np.random.default_rng(0).integers(0, 3, (7, 5, 4)).astype(float)
    together = RELEASED.metrics(sums)
    for place in np.ndindex(7, 5):
        for name, value in RELEASED.metrics(sums[place]).items():
            assert together[name][place] == value


def test_always_yes_has_the_known_f1():
    samples = [{"output": "yes"}] * 23 + [{"output": "no"}] * 77
    floors = TASK.trivial_answers(samples, 1)
    assert set(floors) == {"always-yes", "majority", "random-choice"}
    assert floors["majority"] == ["no"] * 100
    assert figures([s["output"] for s in samples], floors["always-yes"])[0]["f1"] == pytest.approx(2 * 23 / 123)
    assert floors["random-choice"] == TASK.trivial_answers(samples, 1)["random-choice"]
    assert set(floors["random-choice"]) == {"yes", "no"}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "answers", [["yes", "no", "maybe"], ["yes", "maybe"], ["no", "maybe"], ["maybe"], ["yes", "no"]]
)
def test_strict_figures_are_those_of_scikit_learn_with_a_third_class(seed, answers):
    rng = np.random.default_rng(seed)
    true, said = rng.choice(["yes", "no"], 40).tolist(), rng.choice(answers, 40).tolist()
    values, rows = figures(true, said, STRICT)
    assert values["acc"] == pytest.approx(accuracy_score(true, said))
    for label, names in (("yes", ("precision", "recall", "f1")), ("no", ("npr", "specificity"))):
        of_label = precision_recall_fscore_support(true, said, labels=[label], average="macro", zero_division=0)
        assert [values[name] for name in names] == pytest.approx(of_label[: len(names)])
    assert [row.components["correct"] for row in rows] == [
        ref == answer for ref, answer in zip(true, said, strict=True)
    ]
    assert sum(row.num_invalid for row in rows) == said.count("maybe")


def test_strict_figures_by_hand_keep_every_row():
    # yes: answered yes, yes, no, unreadably; no: answered yes, no, unreadably, unreadably
    answers = ["yes", "Yes.", "no", "it depends", "YES", "no.", "", "yes and no"]
    values, rows = figures(["yes"] * 4 + ["no"] * 4, answers, STRICT)
    assert values == pytest.approx(
        {"acc": 3 / 8, "recall": 2 / 4, "precision": 2 / 3, "f1": 4 / 7, "specificity": 1 / 4, "npr": 1 / 2}
    )
    assert STRICT.statistics(rows).sum(0).tolist() == [2, 1, 1, 1, 1, 2]


def test_only_yes_and_no_with_a_full_stop_at_most_are_strict_answers():
    readings = [
        ("Yes", "yes"),
        (" NO.\n", "no"),
        ("yes..", None),
        ("yes .", None),
        ("ye\u017f", None),
        ("no, it", None),
    ]
    for response, parsed in [*readings, ("", None), ("yes\nno", None), ("yes ### Response: no", "yes")]:
        row = STRICT.score({"output": "Yes"}, response)
        assert (row.parsed, row.is_valid, row.num_invalid) == (parsed, parsed is not None, int(parsed is None))
        assert row.components["correct"] == float(parsed == "yes")


def test_strict_figures_of_nothing_are_zero():
    assert figures([], [], STRICT)[0] == dict.fromkeys(STRICT.metric_names, 0)
