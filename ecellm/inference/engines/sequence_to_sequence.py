"""A batch of prompts in a sequence-to-sequence model: the encoder's output, and the decoder's state behind it."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ecellm.inference.choices import sums


class SequenceToSequenceBatch:
    """Prompts of one batch.

    Attributes:
        logits: [batch, vocabulary], of the next token of each answer.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int) -> None:
        """Encode the prompts and start the answers.

        Args:
            model: a sequence-to-sequence transformers model.
            prompts: token ids.
            pad: id that fills up.
        """
        self._model, self._pad = model, pad
        longest = max(map(len, prompts))
        device = model.device
        ids = torch.tensor([[*prompt, *[pad] * (longest - len(prompt))] for prompt in prompts], device=device)
        self._mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in prompts], device=device)
        self._encoded = model.get_encoder()(input_ids=ids, attention_mask=self._mask).last_hidden_state
        self._start = model.config.decoder_start_token_id
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.step(torch.full((len(prompts),), self._start, device=device))

    def step(self, tokens: torch.Tensor) -> None:
        """Put a token behind each answer, [batch]; `logits` are then those behind it."""
        output = self._decode(self._encoded, self._mask, tokens[:, None], past_key_values=self._cache, use_cache=True)
        self.logits: torch.Tensor = output[:, -1]

    def _decode(self, encoded: torch.Tensor, mask: torch.Tensor, ids: torch.Tensor, **cache: Any) -> torch.Tensor:
        """Return logits [batch, length, vocabulary] of the tokens behind `ids`."""
        logits: torch.Tensor = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            decoder_input_ids=ids,
            **cache,
        ).logits
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows alone."""
        self._cache.batch_select_indices(torch.tensor(rows, device=self._mask.device))
        self._mask, self._encoded, self.logits = self._mask[rows], self._encoded[rows], self.logits[rows]

    def choice_scores(self, row: int, choice_ids: Sequence[Sequence[int]]) -> list[float]:
        """Return log p(choice, end | prompt) of some choices of a row."""
        number, longest = len(choice_ids), max(map(len, choice_ids))
        starts = [[self._start, *ids[:-1], *[self._pad] * (longest - len(ids))] for ids in choice_ids]
        ids = torch.tensor(starts, device=self._mask.device)
        rows = [row] * number
        return sums(self._decode(self._encoded[rows], self._mask[rows], ids, use_cache=False), choice_ids)
