"""RGCN: the relation of two products, by their titles and by what else they are related to.

Source: Schlichtkrull et al., Modeling relational data with graph convolutional networks (2018), whose layers are
PyTorch Geometric's `RGCNConv`. The graph are the training rows: products, and between them the relation of each row in
both directions. What differs: a product is its title, which is all that a sample says; it starts from the mean of its
words' embeddings (hashed) instead of an embedding of its own, so that products that training has not seen can be
asked; the relation is told by a classifier over both products instead of a DistMult score. The edges between products
that are asked for are taken out of the graph while they are learned, at most half of all at a time: an answer must not
be read off the question.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from ecellm.baselines.floors.words import words_of
from ecellm.baselines.learner import Answered, Learner
from ecellm.baselines.sample_texts import Row, answer_of, class_of, classes_of, text_pair
from ecellm.tasks import Task

_WORD_BUCKETS = 2**15
_WIDTH = 64
_DROPOUT = 0.2
_WEIGHTS, _GRAPH, _TITLES = "model.safetensors", "graph.safetensors", "titles.json"
_ANSWER_BATCH = 1024


@dataclass(frozen=True)
class Example:
    """Two products.

    Attributes:
        titles: of both.
        label: number of their relation.
    """

    titles: tuple[str, str]
    label: int


class RelationModel(nn.Module):
    """Words, two layers of relational graph convolution, and a classifier over pairs."""

    def __init__(self, num_relations: int) -> None:
        super().__init__()
        from torch_geometric.nn import RGCNConv

        self.words = nn.EmbeddingBag(_WORD_BUCKETS, _WIDTH, mode="mean")
        self.layers = nn.ModuleList([RGCNConv(_WIDTH, _WIDTH, num_relations) for _ in range(2)])
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Sequential(
            nn.Linear(3 * _WIDTH, _WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, num_relations)
        )

    def forward(
        self,
        words: torch.Tensor,
        offsets: torch.Tensor,
        edges: torch.Tensor,
        relations: torch.Tensor,
        pairs: torch.Tensor,
    ) -> torch.Tensor:
        """Return the scores of the relations of some pairs: float32 [pairs, relations].

        Args:
            words: int64 [words], those of all titles one after the other.
            offsets: int64 [nodes], where each title's words begin.
            edges: int64 [2, edges], from and to.
            relations: int64 [edges].
            pairs: int64 [2, pairs], nodes.
        """
        nodes = self.words(words, offsets)
        for layer in self.layers:
            nodes = nodes + self.dropout(functional.relu(layer(nodes, edges, relations)))
        first, second = nodes[pairs[0]], nodes[pairs[1]]
        # Neither product comes first: the order in a sample says nothing.
        return cast(
            "torch.Tensor", self.classifier(torch.cat([first + second, first * second, (first - second).abs()], -1))
        )


class RgcnLearner(Learner):
    """RGCN over the products of the training rows."""

    needs = ("torch_geometric", "graph")
    numbers: dict[str, int]
    edges: torch.Tensor  # int64 [2, training rows]
    relations: torch.Tensor  # int64 [training rows]

    @cached_property
    def _words(self) -> tuple[torch.Tensor, torch.Tensor]:
        return hashed_words(self.numbers)

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether a task is about the relation of two products."""
        return task.short_name == "PRP"

    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[Example]:
        """Return the pairs with their relation; training rows also give the graph."""
        names = classes_of(self.task)
        examples: list[Example] = []
        for row in rows:
            first, second = text_pair(row["input"])
            found = class_of(self.task, row)
            if second is not None and found is not None:
                examples.append(Example((first, second), names.index(found)))
        if is_training:
            titles = dict.fromkeys(title for example in examples for title in example.titles)
            self.numbers = {title: number for number, title in enumerate(titles)}
            nodes = [[self.numbers[title] for title in example.titles] for example in examples]
            self.edges = torch.tensor(nodes, dtype=torch.int64).reshape(-1, 2).T
            self.relations = torch.tensor([example.label for example in examples], dtype=torch.int64)
        return examples

    def size(self, example: Example) -> int:  # noqa: ARG002  all are alike
        """Return 1: batches need no sorting."""
        return 1

    def new_model(self) -> torch.nn.Module:
        """Return a model with random weights."""
        return RelationModel(len(classes_of(self.task)))

    def _scores(
        self, model: torch.nn.Module, pairs: Sequence[tuple[str, str]], *, hides_asked: bool = False
    ) -> torch.Tensor:
        """Return the scores of pairs in the graph; titles that it lacks stand alone in it.

        Args:
            model: the model.
            pairs: titles.
            hides_asked: take all edges between the two products of a pair out of the graph.
        """
        device = next(model.parameters()).device
        new = dict.fromkeys(title for pair in pairs for title in pair if title not in self.numbers)
        numbers = self.numbers | {title: len(self.numbers) + place for place, title in enumerate(new)}
        asked = torch.tensor([[numbers[title] for title in pair] for pair in pairs]).T
        is_kept = torch.ones(len(self.relations), dtype=torch.bool)
        if hides_asked:
            is_kept = ~torch.isin(codes_of_pairs(self.edges, len(numbers)), codes_of_pairs(asked, len(numbers)))
        edges, relations = self.edges[:, is_kept], self.relations[is_kept]
        words, offsets = self._words
        more_words, more_offsets = hashed_words(new)
        words, offsets = torch.cat([words, more_words]), torch.cat([offsets, more_offsets + len(words)])
        both = torch.cat([edges, edges.flip(0)], 1)
        inputs = (words, offsets, both, torch.cat([relations, relations]), asked)
        return cast("torch.Tensor", model(*(tensor.to(device) for tensor in inputs)))

    def losses(self, model: torch.nn.Module, batch: Sequence[Example], *, is_training: bool) -> torch.Tensor:
        """Return the cross-entropy of each pair's relation, without its edge in the graph: float [batch]."""
        most = max(1, len(self.relations) // 2) if is_training else len(batch)
        parts = [batch[start : start + most] for start in range(0, len(batch), most)]
        scores = torch.cat(
            [self._scores(model, [example.titles for example in part], hides_asked=is_training) for part in parts]
        )
        labels = torch.tensor([example.label for example in batch], device=scores.device)
        return functional.cross_entropy(scores, labels, reduction="none")

    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write weights and graph."""
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, directory / _WEIGHTS)
        save_file({"edges": self.edges.contiguous(), "relations": self.relations}, directory / _GRAPH)
        (directory / _TITLES).write_text(json.dumps(list(self.numbers), ensure_ascii=False), encoding="utf-8")

    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""
        titles: list[str] = json.loads((directory / _TITLES).read_text(encoding="utf-8"))
        self.numbers = {title: number for number, title in enumerate(titles)}
        graph = load_file(directory / _GRAPH)
        self.edges, self.relations = graph["edges"], graph["relations"]
        model = self.new_model()
        model.load_state_dict(load_file(directory / _WEIGHTS))
        return model

    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Answer with the likeliest relation; nothing where a row does not show two products."""
        answers = [Answered("")] * len(rows)
        pairs = [(place, text_pair(row["input"])) for place, row in enumerate(rows)]
        readable = [(place, (first, second)) for place, (first, second) in pairs if second is not None]
        names = classes_of(self.task)
        model.eval()
        for start in range(0, len(readable), _ANSWER_BATCH):
            part = readable[start : start + _ANSWER_BATCH]
            with torch.inference_mode():
                scores = self._scores(model, [pair for _, pair in part]).log_softmax(-1).tolist()
            for (place, _), own in zip(part, scores, strict=True):
                by_text = {
                    answer_of(self.task, rows[place], name): value for name, value in zip(names, own, strict=True)
                }
                answers[place] = Answered(max(by_text, key=lambda text: by_text[text]), by_text)
        return answers


def codes_of_pairs(pairs: torch.Tensor, num_nodes: int) -> torch.Tensor:
    """Return a number for each pair of nodes, the same either way round: int64 [pairs].

    Args:
        pairs: int64 [2, pairs].
        num_nodes: more than any node's number.
    """
    return pairs.amin(0) * num_nodes + pairs.amax(0)


def hashed_words(titles: Iterable[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hashed words of titles, one title after the other, and where each title's begin: int64 both."""
    words: list[int] = []
    offsets: list[int] = []
    for title in titles:
        offsets.append(len(words))
        words += [zlib.crc32(word.encode()) % _WORD_BUCKETS for word in words_of(title)]
    return torch.tensor(words, dtype=torch.int64), torch.tensor(offsets, dtype=torch.int64)
