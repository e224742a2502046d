"""Closed answers compared by their probability given the prompt, instead of generated and parsed.

Where all choices of a question begin with different tokens, their first tokens decide, and one pass over the prompt is
enough. Else each choice is scored whole, end token included, without length normalisation: log p(choice, end | prompt),
which is the probability that the model gives exactly this answer. Ties go to the choice listed first. Where choices are
ranked, the answer lists them all, most probable first, joined by commas.
"""

from collections.abc import Sequence

import torch

from ecellm.inference.request import Answer, Request


def differ_at_once(request: Request) -> bool:
    """Tell whether the choices' first tokens are all different."""
    assert request.choice_ids is not None
    return len({ids[0] for ids in request.choice_ids}) == len(request.choice_ids)


def answer_of(request: Request, scores: Sequence[float]) -> Answer:
    """Return the best choice, or all choices in order, as an answer; no token is generated for it."""
    assert request.choices is not None
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    ranked = [request.choices[place] for place in order]
    by_choice = dict(zip(request.choices, map(float, scores), strict=True))
    return Answer(",".join(ranked) if request.ranks_choices else ranked[0], "choice", 0, by_choice)


def scores_of_first_tokens(logits: torch.Tensor, request: Request) -> list[float]:
    """Return log-probabilities of the choices' first tokens.

    Args:
        logits: [vocabulary], behind the prompt.
        request: its choices.
    """
    assert request.choice_ids is not None
    logits = logits.float()
    chosen = logits[[ids[0] for ids in request.choice_ids]] - torch.logsumexp(logits, dim=-1)
    return [float(score) for score in chosen]


def sums(logits: torch.Tensor, choice_ids: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probability of each choice.

    Args:
        logits: [choices, longest choice, vocabulary]: at each place those of the token that stands there.
        choice_ids: token ids of each choice.
    """
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    result = []
    for row, ids in zip(log_probabilities, choice_ids, strict=True):
        tokens = torch.tensor(ids, device=row.device)
        result.append(float(row[: len(ids)].gather(1, tokens[:, None]).sum()))
    return result
