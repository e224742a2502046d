"""The paper's sampling, with each row's randomness its own.

Temperature 0.15, top-p 0.95 (paper, section on inference). A row's draw at a step is fixed by (seed, key, step), so it
does not depend on which rows share its batch.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch

PAPER_TEMPERATURE = 0.15
PAPER_TOP_P = 0.95
_MOST_LIKELY = 256  # tokens that are looked at first: sorting a vocabulary takes longer than a small model's step


def uniform_draw(seed: int, key: str, step: int) -> float:
    """Return a number in [0, 1) fixed by (seed, key, step)."""
    digest = blake2b(f"{seed}:{key}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def row_seed(seed: int, key: str, bits: int = 31) -> int:
    """Return a seed of a row's own for engines that draw by themselves: a number of so many bits."""
    digest = blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - bits)


def draw_tokens(
    logits: torch.Tensor,
    draws: Sequence[float],
    *,
    temperature: float = PAPER_TEMPERATURE,
    top_p: float = PAPER_TOP_P,
) -> torch.Tensor:
    """Draw a token for each row by inverse transform from its most likely tokens.

    Args:
        logits: [batch, vocabulary].
        draws: a number in [0, 1) for each row.
        temperature: logits are divided by it.
        top_p: a token is kept while those before it hold less than this.

    Returns:
        Token ids, int64 [batch].
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    likely, tokens = probabilities.topk(min(_MOST_LIKELY, probabilities.shape[-1]), dim=-1)
    if bool((likely.sum(dim=-1) < top_p).any()):
        likely, tokens = (
            probabilities,
            torch.arange(probabilities.shape[-1], device=logits.device).expand_as(probabilities),
        )
    # Equally likely tokens come in the order of their ids, whichever way they were found.
    tokens, by_id = tokens.sort(dim=-1)
    ordered, places = likely.gather(-1, by_id).sort(dim=-1, descending=True, stable=True)
    tokens = tokens.gather(-1, places)
    cumulative = ordered.cumsum(dim=-1)
    cumulative = ordered.masked_fill(cumulative - ordered >= top_p, 0.0).cumsum(dim=-1)
    targets = torch.tensor(draws, dtype=cumulative.dtype, device=logits.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, targets, right=True).clamp(max=cumulative.shape[1] - 1)
    return tokens.gather(1, drawn)[:, 0]
