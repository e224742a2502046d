"""Closed answers compared by their probability given the prompt, instead of generated and parsed.

Where all choices of a question begin with different tokens, their first tokens decide, and one pass over the prompt is
enough. Else each choice is scored whole, end token included, without length normalisation: log p(choice, end | prompt).
Ties go to the choice listed first.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ecellm.inference.request import Answer, Request


def differ_at_once(request: Request) -> bool:
    """Tell whether the choices' first tokens are all different."""
    assert request.choice_ids is not None
    return len({ids[0] for ids in request.choice_ids}) == len(request.choice_ids)


def answer_of(request: Request, scores: Sequence[float]) -> Answer:
    """Return the best choice as an answer."""
    assert request.choices is not None
    assert request.choice_ids is not None
    best = max(range(len(scores)), key=lambda place: (scores[place], -place))
    by_choice = dict(zip(request.choices, map(float, scores), strict=True))
    return Answer(request.choices[best], "choice", len(request.choice_ids[best]), by_choice)


def scores_of_first_tokens(logits: torch.Tensor, request: Request) -> list[float]:
    """Return log-probabilities of the choices' first tokens.

    Args:
        logits: [vocabulary], behind the prompt.
        request: its choices.
    """
    assert request.choice_ids is not None
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    return [float(log_probabilities[ids[0]]) for ids in request.choice_ids]


def scores_of_whole_choices(model: Any, request: Request, pad_token_id: int) -> list[float]:
    """Return log p(choice, end | prompt) of each choice of one causal-model request."""
    assert request.choice_ids is not None
    num_prompt = len(request.prompt_ids)
    longest = max(len(ids) for ids in request.choice_ids)
    rows = [[*request.prompt_ids, *ids, *[pad_token_id] * (longest - len(ids))] for ids in request.choice_ids]
    input_ids = torch.tensor(rows, device=model.device)
    # Padding stands behind what is scored, which causal attention cannot see.
    logits = model(input_ids=input_ids, use_cache=False).logits[:, num_prompt - 1 : -1].float()
    return _sums(logits, request.choice_ids)


def scores_of_whole_labels(model: Any, request: Request, pad_token_id: int) -> list[float]:
    """Return log p(choice, end | prompt) of each choice of one sequence-to-sequence request."""
    assert request.choice_ids is not None
    longest = max(len(ids) for ids in request.choice_ids)
    labels = torch.tensor(
        [[*ids, *[pad_token_id] * (longest - len(ids))] for ids in request.choice_ids], device=model.device
    )
    prompt = torch.tensor([request.prompt_ids] * len(labels), device=model.device)
    logits = model(input_ids=prompt, labels=labels).logits.float()
    return _sums(logits, request.choice_ids)


def _sums(logits: torch.Tensor, choice_ids: Sequence[Sequence[int]]) -> list[float]:
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return [
        sum(float(log_probabilities[row, place, token]) for place, token in enumerate(ids))
        for row, ids in enumerate(choice_ids)
    ]
