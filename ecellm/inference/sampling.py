"""The paper's sampling, with each row's randomness its own.

Temperature 0.15, top-p 0.95 (paper, section on inference). A row's draw at a step is fixed by (seed, key, step), so it
does not depend on which rows share its batch.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from transformers import LogitsProcessor

PAPER_TEMPERATURE = 0.15
PAPER_TOP_P = 0.95


def uniform_draw(seed: int, key: str, step: int) -> float:
    """Return a number in [0, 1) fixed by (seed, key, step)."""
    digest = blake2b(f"{seed}:{key}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


class RowSampling(LogitsProcessor):
    """Draws each row's next token by inverse transform and leaves it as the only one possible.

    Used with `do_sample=False`: arg-max then takes the drawn token, and generation stays free of global random state.
    """

    def __init__(self, keys: Sequence[str], seed: int, temperature: float, top_p: float) -> None:
        self._keys = keys
        self._seed = seed
        self._temperature = temperature
        self._top_p = top_p
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores [batch, vocabulary] with 0 at the drawn tokens and -inf elsewhere."""
        del input_ids
        probabilities = torch.softmax(scores.double() / self._temperature, dim=-1)
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        cumulative = ordered.cumsum(dim=-1)
        # A token is kept while those before it hold less than top_p: at least one always is.
        kept = ordered.masked_fill(cumulative - ordered >= self._top_p, 0.0)
        cumulative = kept.cumsum(dim=-1)
        draws = [uniform_draw(self._seed, key, self._step) for key in self._keys]
        self._step += 1
        targets = torch.tensor(draws, dtype=cumulative.dtype, device=scores.device)[:, None] * cumulative[:, -1:]
        places = torch.searchsorted(cumulative, targets, right=True).clamp(max=cumulative.shape[1] - 1)
        drawn = tokens.gather(1, places)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)
