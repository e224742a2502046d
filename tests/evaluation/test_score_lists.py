"""Scoring plain lists, as a user of the library does."""

import doctest
import json
import subprocess
import sys

import pytest

from ecellm.errors import InputError
from ecellm.evaluation import Figure, score, score_lists
from ecellm.tasks.similarity_scorers import NOT_COMPUTED

IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"


def values(figures):
    return {(figure.flavour, figure.metric): figure.value for figure in figures}


def test_both_flavours_of_a_yes_or_no_task_worked_out_by_hand():
    figures = score("PM", IND, ["yes", "Yes.", "no", "perhaps"], ["yes", "no", "no", "yes"], num_resamples=100)
    by_name = values(figures)
    # Released: "Yes." and "perhaps" are left out. Strict: tp 1, fp 1, tn 1, and a yes without an answer.
    assert (by_name["released", "acc"], by_name["released", "f1"]) == (1.0, 1.0)
    assert (by_name["strict", "acc"], by_name["strict", "recall"], by_name["strict", "f1"]) == (0.5, 0.5, 0.5)
    assert {(figure.flavour, figure.num_samples, figure.num_invalid) for figure in figures} == {
        ("released", 4, 2),
        ("strict", 4, 1),
    }
    assert all(figure.ci_low <= figure.value <= figure.ci_high for figure in figures)
    assert isinstance(figures[0], Figure)


def test_the_setting_decides_how_the_release_rates_extraction():
    reference = json.dumps([{"attribute": "color", "value": "dark red", "source": "product title"}])
    answer = json.dumps([{"attribute": "color", "value": "red", "source": "product title"}])
    for setting, hits in ((IND, 0.0), (OOD, 1.0)):
        by_name = values(score("AVE", setting, [answer], [reference], num_resamples=0))
        assert by_name["released", "recall"] == hits
        assert by_name["strict", "recall"] == 0.0


def test_ranking_takes_labels_and_generation_takes_similarity():
    ranked = values(score("QPR", IND, ["A,B"], ["B,A"], relevance=[["S", "E"]], num_resamples=0))
    assert 0 < ranked["strict", "ndcg"] < 1
    figures = score("QPR", IND, ["A,B"], ["B,A"])
    assert {figure.value for figure in figures} == {None}
    assert all("relevance" in figure.reason for figure in figures)
    likeness = [{"bertscore_f1": 0.8, "bleurt": None}, {"bertscore_f1": 0.6}]
    written = {
        (figure.flavour, figure.metric): figure
        for figure in score("AG", IND, ["blue", ""], ["blue", "red"], similarity=likeness, num_resamples=50)
    }
    assert written["released", "bertscore_f1"].value == pytest.approx(0.7)
    assert written["strict", "bertscore_f1"].value == pytest.approx(0.4)
    assert written["released", "bleurt"].reason is not None
    assert written["released", "bleurt"].ci_low is None


def test_the_seed_decides_and_no_resamples_give_no_intervals():
    arguments = ("SR", IND, list("ABCDEF"), list("AACDEE"))
    assert score(*arguments, seed=3) == score(*arguments, seed=3)
    assert all(figure.ci_low is figure.ci_high is None for figure in score(*arguments, num_resamples=0))


@pytest.mark.parametrize(
    ("task", "setting", "predictions", "references", "more", "message"),
    [
        ("PMM", IND, ["yes"], ["yes"], {}, "unknown task 'PMM'"),
        ("PM", "IND", ["yes"], ["yes"], {}, "unknown setting 'IND'; the settings are IND_Single"),
        ("PM", IND, [], [], {}, "nothing to score"),
        ("PM", IND, ["yes"], ["yes", "no"], {}, "unequal length: 1 predictions, 2 references"),
        ("PM", IND, ["yes"], ["yes"], {"inputs": ["a", "b"]}, "1 references, 2 inputs"),
        ("AG", IND, ["yes"], ["yes"], {"similarity": []}, "0 similarity"),
        ("PM", IND, ["yes", None], ["yes", "no"], {}, r"predictions\[1\] is None, not a text"),
        ("PM", IND, "yes", "yes", {}, "predictions is one text"),
        ("PM", IND, ["yes"], ["yes"], {"num_resamples": -1}, "num_resamples is -1"),
        ("AG", IND, ["yes"], ["yes"], {"similarity": [{"bleu": 1.0}]}, "unknown similarity bleu"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_reason(task, setting, predictions, references, more, message):
    with pytest.raises(ValueError, match=message):
        score(task, setting, predictions, references, **more)


def test_refusals_of_input_are_told_apart_from_defects():
    with pytest.raises(InputError):
        score("PM", IND, [], [])


def test_the_example_is_true():
    assert doctest.testmod(score_lists).failed == 0


def test_importing_needs_neither_ray_nor_models():
    heavy = {"ray", "torch", "transformers"}
    code = f"import sys, ecellm.evaluation; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_figure_that_is_not_computed_is_absent_even_if_nothing_was_answered():
    figures = score("AG", IND, ["", ""], ["It is blue.", "It is red."])
    assert {(figure.value, figure.reason) for figure in figures} == {(None, NOT_COMPUTED)}
