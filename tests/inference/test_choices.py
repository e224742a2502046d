"""Closed answers compared by probability."""

import pytest
import torch

from ecellm.inference import choices
from ecellm.inference.request import Request


def request_of(*choice_ids, **fields):
    names = tuple(f"c{n}" for n in range(len(choice_ids)))
    return Request("k", "p", (1,), 4, names, tuple(map(tuple, choice_ids)), **fields)


def test_first_tokens_decide_only_where_they_differ():
    assert choices.differ_at_once(request_of([3, 2], [4, 2]))
    assert not choices.differ_at_once(request_of([3, 2], [3, 4, 2]))


def test_scores_of_first_tokens_are_log_probabilities():
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0]) + 100
    expected = torch.log_softmax(logits, -1)[[2, 3]].tolist()
    assert choices.scores_of_first_tokens(logits, request_of([2], [3])) == pytest.approx(expected, abs=1e-5)


def test_the_best_choice_is_the_answer_and_ties_go_to_the_first():
    answer = choices.answer_of(request_of([3], [4], [5]), [-2.0, -1.0, -1.0])
    assert (answer.text, answer.finish_reason, answer.num_tokens) == ("c1", "choice", 0)
    assert answer.choice_scores == {"c0": -2.0, "c1": -1.0, "c2": -1.0}


def test_ranked_choices_are_all_named_and_ties_stay_in_order():
    assert choices.answer_of(request_of([3], [4], [5], ranks_choices=True), [-2.0, -1.0, -1.0]).text == "c1,c2,c0"
