"""Closed answers compared by probability: the figures are those of the plain formula."""

import pytest
import torch

from ecellm.inference import choices
from ecellm.inference.request import Request
from ecellm.prompts.tokenizer import load_tokenizer
from ecellm.storage import Storage


def request_of(prompt_ids, *choice_ids):
    names = tuple(f"c{n}" for n in range(len(choice_ids)))
    return Request("k", "p", tuple(prompt_ids), 4, names, tuple(map(tuple, choice_ids)))


@pytest.fixture(scope="module")
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def log_probability(model, prompt, answer):
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0]
    return sum(
        float(torch.log_softmax(logits[len(prompt) - 1 + place], -1)[token]) for place, token in enumerate(answer)
    )


def test_whole_choices_are_scored_by_their_log_probability(model, tiny_model):
    pad = load_tokenizer(tiny_model, None, Storage()).pad_token_id
    request = request_of([5, 6, 7], [9, 10, 2], [9, 2], [9, 11, 12, 2])
    with torch.no_grad():
        scores = choices.scores_of_whole_choices(model, request, pad)
    expected = [log_probability(model, request.prompt_ids, ids) for ids in request.choice_ids]
    assert scores == pytest.approx(expected, abs=1e-4)


def test_first_tokens_decide_only_where_they_differ():
    assert choices.differ_at_once(request_of([1], [3, 2], [4, 2]))
    assert not choices.differ_at_once(request_of([1], [3, 2], [3, 4, 2]))


def test_ties_go_to_the_first_choice():
    assert choices.answer_of(request_of([1], [3], [4], [5]), [-2.0, -1.0, -1.0]).text == "c1"
