"""gSASRec: SASRec trained with the gBCE loss, choosing among the candidates of Sequential Recommendation.

Sources: Kang and McAuley, Self-attentive sequential recommendation (2018), for the model; Petrov and Macdonald,
gSASRec: reducing overconfidence in sequential recommendation trained with negative sampling (RecSys 2023), for the
loss. With k negatives drawn uniformly from the other items of a catalogue of n, alpha = k / (n - 1), and t the
calibration,

    beta = alpha (t (1 - 1 / alpha) + 1 / alpha)
    gBCE = - beta log sigmoid(s+) - sum over negatives of log(1 - sigmoid(s-))

What differs: an item is its text, the only name that a sample gives it, so that two products of one text are one item;
the layers are PyTorch's, normalised before attention; the best epoch is told by the cross-entropy of the true candidate
among the twenty. A candidate that no training row has is never preferred to one that is known.
"""

import json
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
from ecellm.baselines.purchases import marked_purchases
from ecellm.baselines.sample_texts import Row
from ecellm.config.baseline import SequenceModelSettings
from ecellm.tasks import Task
from ecellm.tasks.sequential_recommendation import MAX_PURCHASES, RecommendationTask

_NOTHING = 0  # stands for no item, and for one that training has not seen
_WEIGHTS, _ITEMS = "model.safetensors", "items.json"
_ANSWER_BATCH = 256


@dataclass(frozen=True)
class Example:
    """A user's purchases.

    Attributes:
        history: numbers of the items bought, oldest first.
        candidates: numbers of the candidates.
        target: place of the next purchase among them.
    """

    history: list[int]
    candidates: list[int]
    target: int


class SelfAttention(nn.Module):
    """SASRec: item and position embeddings, causal transformer layers; scores are products with the item embeddings."""

    def __init__(self, num_items: int, settings: SequenceModelSettings) -> None:
        super().__init__()
        width = settings.hidden_size
        self.items = nn.Embedding(num_items + 1, width, padding_idx=_NOTHING)
        self.positions = nn.Embedding(MAX_PURCHASES, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=width**-0.5)
        with torch.no_grad():
            self.items.weight[_NOTHING].zero_()
        self.dropout = nn.Dropout(settings.dropout)
        layer = nn.TransformerEncoderLayer(
            width, settings.num_heads, 4 * width, settings.dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, settings.num_layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, histories: torch.Tensor) -> torch.Tensor:
        """Return what each position expects next.

        Args:
            histories: int64 [batch, length], right-padded with 0.

        Returns:
            float32 [batch, length, width].
        """
        length = histories.shape[1]
        states = self.dropout(self.items(histories) + self.positions.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=histories.device)
        states = self.layers(states, mask=mask, is_causal=True)
        return cast("torch.Tensor", states)


def gbce_beta(num_negatives: int, num_items: int, calibration: float) -> float:
    """Return the power beta of the gBCE loss (Petrov and Macdonald 2023, section 4.2)."""
    alpha = min(1.0, num_negatives / max(1, num_items - 1))
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


class GsasrecLearner(Learner):
    """gSASRec over the items that the training rows name."""

    numbers: dict[str, int]

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether a task is the choice of the next purchase."""
        return isinstance(task, RecommendationTask)

    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[Example]:
        """Return the users' purchases; training rows also give the catalogue."""
        read = [own for row in rows if (own := marked_purchases(row)) is not None]
        if is_training:
            texts = {text for own in read for text in (*own.history, *own.candidates)}
            self.numbers = {text: number for number, text in enumerate(sorted(texts), 1)}
        return [Example(self._numbered(own.history), self._numbered(own.candidates), own.target) for own in read]

    def _numbered(self, texts: Sequence[str]) -> list[int]:
        return [self.numbers.get(text, _NOTHING) for text in texts]

    def size(self, example: Example) -> int:
        """Return the number of purchases."""
        return len(example.history)

    def new_model(self) -> torch.nn.Module:
        """Return a model with random weights."""
        return SelfAttention(len(self.numbers), self.config.sequence)

    def losses(self, model: torch.nn.Module, batch: Sequence[Example], *, is_training: bool) -> torch.Tensor:
        """Return gBCE over all purchases of each user, or the cross-entropy of the candidate that was bought."""
        if not is_training:
            scores = self._candidate_scores(model, batch)
            targets = torch.tensor([example.target for example in batch], device=scores.device)
            return functional.cross_entropy(scores, targets, reduction="none")
        settings, inner = self.config.sequence, _inner(model)
        device = inner.items.weight.device
        purchases = _padded([[*own.history, own.candidates[own.target]][-MAX_PURCHASES - 1 :] for own in batch], device)
        histories, targets = purchases[:, :-1], purchases[:, 1:]
        states = model(histories)
        drawn = torch.randint(1, len(self.numbers) + 1, (*targets.shape, settings.num_negatives), device=device)
        positive = (states * inner.items(targets)).sum(-1)
        negative = (inner.items(drawn) @ states.unsqueeze(-1)).squeeze(-1)
        beta = gbce_beta(settings.num_negatives, len(self.numbers), settings.calibration)
        negative_loss = functional.softplus(negative).masked_fill(drawn == targets.unsqueeze(-1), 0.0).sum(-1)
        by_position = beta * functional.softplus(-positive) + negative_loss
        counts = (targets != _NOTHING) & (histories != _NOTHING)
        return (by_position * counts).sum(-1) / counts.sum(-1).clamp(min=1)

    def _candidate_scores(self, model: torch.nn.Module, batch: Sequence[Example]) -> torch.Tensor:
        """Return the scores of the candidates: float [batch, candidates]; those that are not known the lowest."""
        inner = _inner(model)
        device = inner.items.weight.device
        histories = _padded([own.history[-MAX_PURCHASES:] or [_NOTHING] for own in batch], device)
        last = torch.tensor([max(1, len(own.history[-MAX_PURCHASES:])) - 1 for own in batch], device=device)
        states = inner(histories)[torch.arange(len(batch), device=device), last]
        candidates = _padded([own.candidates for own in batch], device)
        scores: torch.Tensor = (inner.items(candidates) @ states.unsqueeze(-1)).squeeze(-1)
        lowest = scores.detach().amin(-1, keepdim=True) - 1
        return torch.where(candidates == _NOTHING, lowest, scores)

    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write weights and catalogue."""
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, directory / _WEIGHTS)
        (directory / _ITEMS).write_text(json.dumps(list(self.numbers), ensure_ascii=False), encoding="utf-8")

    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""
        texts: list[str] = json.loads((directory / _ITEMS).read_text(encoding="utf-8"))
        self.numbers = {text: number for number, text in enumerate(texts, 1)}
        model = self.new_model()
        model.load_state_dict(load_file(directory / _WEIGHTS))
        return model

    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Choose the candidate with the highest score, the first of equals; nothing where a row cannot be read."""

        def scores_of(asked: Sequence[Asked]) -> torch.Tensor:
            batch = [Example(self._numbered(history), self._numbered(candidates), 0) for history, candidates in asked]
            return self._candidate_scores(model, batch)

        return choose(model, rows, _ANSWER_BATCH, scores_of)


def _inner(model: torch.nn.Module) -> SelfAttention:
    """Return the model itself, which may be wrapped for several ranks."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, SelfAttention)
    return inner


def _padded(lists: Sequence[Sequence[int]], device: Any) -> torch.Tensor:
    """Return int64 [lists, longest], padded at the end with 0."""
    return nn.utils.rnn.pad_sequence([torch.tensor(own, dtype=torch.int64) for own in lists], batch_first=True).to(
        device
    )
