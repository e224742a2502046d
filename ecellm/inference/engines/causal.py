"""A batch of prompts in a causal model: its keys and values, and the logits behind it.

    [ shared beginning ][ padding ][ rest of the prompt ][ answer ... ]

The beginning is computed once for a group of prompts. Padding stands behind it, masked, and positions are counted
without it, so that a row computes what it would alone. Layers with a sliding window count padding as places of it:
prompts that reach beyond the window share nothing (see `longest_that_share`), and have their padding in front.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from ecellm.inference.choices import sums


@dataclass(frozen=True)
class Beginning:
    """The keys and values of what a group's prompts begin with.

    Attributes:
        num_tokens: how many.
        cache: transformers' cache of one row.
    """

    num_tokens: int
    cache: Any


def longest_that_share(model: Any) -> float:
    """Return how many tokens, answer included, a row may have if it is to share its beginning with others.

    0 where a layer keeps something other than keys and values, such as the state of a linear attention.
    """
    cache = DynamicCache(config=model.config)
    if any(cache.is_linear) or any(cache.is_dummy):
        return 0
    windows = [layer.sliding_window for layer in cache.layers if layer.is_sliding]
    return min(windows, default=float("inf"))


def compute_beginning(model: Any, ids: Sequence[int]) -> Beginning:
    """Compute the keys and values of some tokens."""
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, logits_to_keep=1)
    return Beginning(len(ids), cache)


def _of_rows(cache: Any, rows: Sequence[int]) -> Any:
    """Return a cache of some rows of another one, which stays as it is: layers replace their tensors, never write."""
    result = copy.copy(cache)
    result.layers = [copy.copy(layer) for layer in cache.layers]
    result.batch_select_indices(torch.tensor(rows, device=result.layers[0].keys.device))
    return result


class CausalBatch:
    """Prompts of one batch.

    Attributes:
        logits: [batch, vocabulary], of the next token of each row.
    """

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], pad: int, beginning: Beginning | None, *, is_continued: bool
    ) -> None:
        """Compute the prompts.

        Args:
            model: a causal transformers model.
            prompts: token ids; all begin with what `beginning` was computed of.
            pad: id that fills up.
            beginning: what they share; None for nothing.
            is_continued: whether tokens will follow; else keys and values are not kept.
        """
        self._model, self._pad = model, pad
        shared = beginning.num_tokens if beginning else 0
        rests = [list(prompt[shared:]) for prompt in prompts]
        longest = max(map(len, rests))
        device = model.device
        ids = torch.tensor([[pad] * (longest - len(rest)) + rest for rest in rests], device=device)
        real = [[1] * shared + [0] * (longest - len(rest)) + [1] * len(rest) for rest in rests]
        self._mask = torch.tensor(real, device=device)
        positions = (self._mask.cumsum(dim=-1) - 1).clamp(min=0)
        self._cache = None
        if beginning:
            self._cache = _of_rows(beginning.cache, [0] * len(prompts))
        elif is_continued:
            self._cache = DynamicCache(config=model.config)
        self.logits = self._forward(ids, positions[:, shared:])
        self._next_positions = positions[:, -1] + 1

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=self._cache is not None,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def step(self, tokens: torch.Tensor) -> None:
        """Put a token behind each row, [batch]; `logits` are then those behind it."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self.logits = self._forward(tokens[:, None], self._next_positions[:, None])
        self._next_positions = self._next_positions + 1

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows alone."""
        self._cache = _of_rows(self._cache, rows)
        self._mask, self._next_positions = self._mask[rows], self._next_positions[rows]
        self.logits = self.logits[rows]

    def choice_scores(self, row: int, choice_ids: Sequence[Sequence[int]]) -> list[float]:
        """Return log p(choice, end | prompt) of some choices of a row."""
        longest = max(map(len, choice_ids)) - 1
        first = self.logits[row].expand(len(choice_ids), 1, -1)
        if not longest:
            return sums(first, choice_ids)
        number, device = len(choice_ids), self.logits.device
        # Padding stands behind what is scored, where causal attention does not look.
        ids = torch.tensor([[*ids[:-1], *[self._pad] * (longest + 1 - len(ids))] for ids in choice_ids], device=device)
        output = self._model(
            input_ids=ids,
            attention_mask=torch.nn.functional.pad(self._mask[[row] * number], (0, longest), value=1),
            position_ids=self._next_positions[row] + torch.arange(longest, device=device).expand(number, -1),
            past_key_values=_of_rows(self._cache, [row] * number),
        )
        return sums(torch.cat([first, output.logits], dim=1), choice_ids)
