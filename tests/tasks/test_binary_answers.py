"""Yes-or-no tasks against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ecellm.tasks import task_named

TASK = task_named("PSI")


def figures(references, responses):
    rows = [TASK.score({"output": ref}, answer) for ref, answer in zip(references, responses, strict=True)]
    return TASK.metrics(TASK.statistics(rows).sum(0)), rows


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
        row = TASK.score({"output": "yes"}, response)
        assert (row.parsed, row.is_valid, row.num_invalid) == (parsed, parsed is not None, int(parsed is None))
        assert row.components["correct"] == (None if parsed is None else float(parsed == "yes"))


def test_without_a_valid_row_all_figures_are_zero():
    values, _ = figures(["yes", "no"], ["?", "?"])
    assert set(values) == set(TASK.metric_names)
    assert all(value == 0 for value in values.values())


def test_metrics_of_many_sums_at_once_equal_those_one_by_one():
    sums = np.random.default_rng(0).integers(0, 3, (7, 5, 4)).astype(float)
    together = TASK.metrics(sums)
    for place in np.ndindex(7, 5):
        for name, value in TASK.metrics(sums[place]).items():
            assert together[name][place] == value


def test_always_yes_has_the_known_f1():
    samples = [{"output": "yes"}] * 23 + [{"output": "no"}] * 77
    floors = TASK.trivial_answers(samples, 1)
    assert set(floors) == {"always-yes", "majority", "random-choice"}
    assert floors["majority"] == ["no"] * 100
    assert figures([s["output"] for s in samples], floors["always-yes"])[0]["f1"] == pytest.approx(2 * 23 / 123)
    assert floors["random-choice"] == TASK.trivial_answers(samples, 1)["random-choice"]
    assert set(floors["random-choice"]) == {"yes", "no"}
