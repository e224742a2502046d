"""Recformer: the next purchase by texts alone; a user's items are one text, and the nearest candidate is chosen.

Source: Li et al., Text is all you need: learning language representations for sequential recommendation (KDD 2023). As
there, items are read as one sequence, the latest first, each token with an embedding of its item's place, and the loss
contrasts the next item with others. What differs: any encoder of transformers instead of a Longformer, without the
pre-training; an item is its text, not a list of keys and values; a text's vector is the mean of its tokens' instead of
the first one's; negatives are the other users' next items in the batch and the row's own candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from ecellm.baselines.candidates import Asked, choose
from ecellm.baselines.learner import Answered, Learner
from ecellm.baselines.pretrained import load_tokenizer, load_with_head, local_base, pad, save_pretrained
from ecellm.baselines.purchases import MarkedPurchases, marked_purchases
from ecellm.baselines.sample_texts import Row
from ecellm.tasks import Task
from ecellm.tasks.sequential_recommendation import MAX_PURCHASES, RecommendationTask

_PLACES_NAME = "places.safetensors"
_TEMPERATURE = 0.05
_OWN_NEGATIVES = 4  # of the row's candidates, drawn anew each time
_TOKENS_OF_AN_ITEM = 48  # 25 words
_ANSWER_ROWS = 8


@dataclass(frozen=True)
class Text:
    """Tokens of one item or of several, and the place of the item that each belongs to."""

    ids: list[int]
    places: list[int]


class TextSequenceModel(nn.Module):
    """An encoder with an embedding of the item's place added to each token, averaged over tokens, of length 1."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.places = nn.Embedding(MAX_PURCHASES + 1, encoder.config.hidden_size)
        nn.init.zeros_(self.places.weight)

    def forward(self, ids: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return a unit vector for each text: float32 [texts, width].

        Args:
            ids: int64 [texts, tokens].
            places: int64 [texts, tokens], 0 for tokens of no item.
            mask: int64 [texts, tokens], 0 for padding.
        """
        embedded = self.encoder.get_input_embeddings()(ids) + self.places(places)
        states = self.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


class RecformerLearner(Learner):
    """Chooses the candidate whose text is nearest to the user's."""

    tokenizer: Any

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether a task is the choice of the next purchase."""
        return isinstance(task, RecommendationTask)

    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[MarkedPurchases]:  # noqa: ARG002
        """Return the users' purchases, as texts; they are tokenized when they are needed."""
        if not hasattr(self, "tokenizer"):
            self.tokenizer = load_tokenizer(self.config, local_base(self.config, self.storage))
        return [own for row in rows if (own := marked_purchases(row)) is not None]

    def size(self, example: MarkedPurchases) -> int:
        """Return the number of purchases."""
        return len(example.history)

    def new_model(self) -> torch.nn.Module:
        """Return the base model."""
        return self._load(local_base(self.config, self.storage))

    def _load(self, path: str) -> TextSequenceModel:
        from transformers import AutoModel

        return TextSequenceModel(load_with_head(AutoModel, self.config, path))

    def _items(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=_TOKENS_OF_AN_ITEM)
        return [list(ids) for ids in encoded["input_ids"]]

    def text_of(self, items: Sequence[str]) -> Text:
        """Return some items as one text, the latest first, as many as max_length holds."""
        ids, places = [self.tokenizer.cls_token_id], [0]
        most = min(self.config.max_length, self.tokenizer.model_max_length) - 1
        for place, own in enumerate(self._items(items[::-1][:MAX_PURCHASES]), 1):
            room = most - len(ids)
            ids += own[:room]
            places += [place] * len(own[:room])
        return Text([*ids, self.tokenizer.sep_token_id], [*places, 0])

    def _vectors(self, model: torch.nn.Module, texts: Sequence[Text]) -> torch.Tensor:
        padded = pad(
            self.tokenizer,
            [{"input_ids": text.ids, "attention_mask": [1] * len(text.ids)} for text in texts],
            model,
        )
        ids = padded["input_ids"]
        places = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            places[row, : len(text.places)] = torch.tensor(text.places, device=ids.device)
        return cast("torch.Tensor", model(ids, places, padded["attention_mask"]))

    def losses(self, model: torch.nn.Module, batch: Sequence[MarkedPurchases], *, is_training: bool) -> torch.Tensor:
        """Return the cross-entropy of the next item among others (training), or among the candidates: float [batch]."""
        if not is_training:
            scores = self._candidate_scores(model, [(own.history, own.candidates) for own in batch])
            targets = torch.tensor([own.target for own in batch], device=scores.device)
            return functional.cross_entropy(scores / _TEMPERATURE, targets, reduction="none")
        # One pass through the model, histories and items together: what several ranks wait for each other in.
        items = list(dict.fromkeys(text for own in batch for text in (own.candidates[own.target], *_drawn(own))))
        texts = [*(self.text_of(own.history) for own in batch), *(self.text_of([item]) for item in items)]
        vectors = self._vectors(model, texts)
        scores = vectors[: len(batch)] @ vectors[len(batch) :].T / _TEMPERATURE
        places = {item: place for place, item in enumerate(items)}
        targets = torch.tensor([places[own.candidates[own.target]] for own in batch], device=scores.device)
        return functional.cross_entropy(scores, targets, reduction="none")

    def _candidate_scores(self, model: torch.nn.Module, rows: Sequence[Asked]) -> torch.Tensor:
        """Return the cosine of each user and candidate: float [rows, candidates]; -1 where there are fewer."""
        items = list(dict.fromkeys(text for _, candidates in rows for text in candidates))
        places = {item: place for place, item in enumerate(items)}
        users = self._vectors(model, [self.text_of(history) for history, _ in rows])
        vectors = self._vectors(model, [self.text_of([item]) for item in items])
        scores = torch.full((len(rows), max(len(own) for _, own in rows)), -1.0, device=users.device)
        for row, (_, candidates) in enumerate(rows):
            own = torch.tensor([places[text] for text in candidates], device=users.device)
            scores[row, : len(candidates)] = vectors[own] @ users[row]
        return scores

    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write the encoder and its tokenizer in transformers' format, and the embeddings of places."""
        assert isinstance(model, TextSequenceModel)
        save_pretrained(model.encoder, self.tokenizer, directory)
        save_file({"weight": model.places.weight.detach().contiguous()}, directory / _PLACES_NAME)

    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""
        self.tokenizer = load_tokenizer(self.config, str(directory))
        model = self._load(str(directory))
        model.places.load_state_dict(load_file(directory / _PLACES_NAME))
        return model

    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Choose the candidate with the highest score, the first of equals; nothing where a row cannot be read."""
        return choose(model, rows, _ANSWER_ROWS, lambda asked: self._candidate_scores(model, asked) / _TEMPERATURE)


def _drawn(own: MarkedPurchases) -> list[str]:
    """Return some of a row's candidates."""
    order = torch.randperm(len(own.candidates))[:_OWN_NEGATIVES].tolist()
    return [own.candidates[place] for place in order]
