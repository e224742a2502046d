"""How models of the next purchase answer: by the candidate with the highest score."""

from collections.abc import Callable, Sequence

import torch

from ecellm.baselines.learner import Answered
from ecellm.baselines.purchases import read_purchases
from ecellm.baselines.sample_texts import Row
from ecellm.tasks.recommendation_scorers import LETTERS
from ecellm.tasks.sequential_recommendation import MAX_PURCHASES

Asked = tuple[Sequence[str], Sequence[str]]  # texts of the history, and of the candidates


def choose(
    model: torch.nn.Module,
    rows: Sequence[Row],
    batch_size: int,
    scores_of: Callable[[Sequence[Asked]], torch.Tensor],
) -> list[Answered]:
    """Choose the candidate with the highest score, the first of equals; nothing where a row cannot be read.

    Args:
        model: the trained model.
        rows: of the samples.
        batch_size: rows that are scored at once.
        scores_of: returns float [batch, most candidates], padded at the end.
    """
    answers = [Answered("")] * len(rows)
    readable = [(place, own) for place, row in enumerate(rows) if (own := read_purchases(row)) is not None]
    model.eval()
    for start in range(0, len(readable), batch_size):
        part = readable[start : start + batch_size]
        asked = [(history, candidates[: len(LETTERS)]) for _, (history, candidates) in part]
        with torch.inference_mode():
            scores = scores_of(asked).cpu()
        for (place, _), (history, candidates), own in zip(part, asked, scores, strict=True):
            answers[place] = _answered(own[: len(candidates)], len(history))
    return answers


def _answered(scores: torch.Tensor, num_purchases: int) -> Answered:
    """Return the letter of the highest score, the first of equals.

    Args:
        scores: float [candidates], at most 20.
        num_purchases: items in the history.
    """
    by_letter = dict(zip(LETTERS, scores.log_softmax(-1).tolist(), strict=False))
    best = max(by_letter, key=lambda letter: by_letter[letter])
    return Answered(best, by_letter, num_purchases > MAX_PURCHASES, num_purchases)
