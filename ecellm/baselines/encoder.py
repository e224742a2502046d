"""Encoders that classify a text or a pair of texts, or score a query against each product: BERT, DeBERTaV3, BERTweet.

Any model that transformers' `AutoModelForSequenceClassification` knows, with a new head. Sources: Devlin et al., BERT
(2019); He et al., DeBERTaV3 (2023); Nguyen et al., BERTweet (2020). As in Nogueira and Cho, Passage re-ranking with
BERT (2019), a ranking is made of one score for each (query, product), pointwise; they learn relevant or not, this
learns the graded label (mean squared error).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from torch.nn import functional

from ecellm.baselines.learner import Answered, Learner
from ecellm.baselines.pretrained import load_tokenizer, load_with_head, local_base, pad, save_pretrained
from ecellm.baselines.sample_texts import Row, answer_of, class_of, classes_of, query_and_products, text_pair
from ecellm.tasks import Task
from ecellm.tasks.query_product_ranking import RankingTask
from ecellm.tasks.ranking_scorers import GAINS

_ANSWER_BATCH = 64


@dataclass(frozen=True)
class Example:
    """A text or pair as the encoder reads it, and what it should say.

    Attributes:
        encoding: input_ids and what else the tokenizer gives, by name.
        target: number of the class, or the graded relevance (0 to 1).
    """

    encoding: dict[str, list[int]]
    target: float


class EncoderLearner(Learner):
    """An encoder with a new head: a class for each answer, or one score for a candidate of a ranking."""

    tokenizer: Any
    class_weights: torch.Tensor

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether a task is classification or ranking."""
        return bool(classes_of(task)) or isinstance(task, RankingTask)

    @property
    def _ranks(self) -> bool:
        return isinstance(self.task, RankingTask)

    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[Example]:
        """Return an example for each row with a class, or for each candidate with a grade."""
        if not hasattr(self, "tokenizer"):
            self.tokenizer = load_tokenizer(self.config, local_base(self.config, self.storage))
        texts: list[tuple[str, str | None]] = []
        targets: list[float] = []
        for row in rows:
            for text, target in _graded(row) if self._ranks else self._labelled(row):
                texts.append(text)
                targets.append(target)
        if is_training and not self._ranks:
            self.class_weights = self._weights(targets)
        return [Example(*both) for both in zip(self._encode(texts), targets, strict=True)]

    def _weights(self, targets: Sequence[float]) -> torch.Tensor:
        """Return what a row of each class counts, on average 1 over the training rows: float32 [classes].

        Balanced, a class that no training row has counts nothing: the model cannot learn it, and validation should not
        choose the epoch by it.
        """
        counts = torch.bincount(torch.tensor(targets, dtype=torch.long), minlength=len(classes_of(self.task)))
        if self.config.class_weights == "none":
            return torch.ones(len(counts))
        is_there = counts > 0
        return is_there * len(targets) / (is_there.sum() * counts.clamp(min=1))

    def _labelled(self, row: Row) -> list[tuple[tuple[str, str | None], float]]:
        found = class_of(self.task, row)
        return [] if found is None else [(text_pair(row["input"]), float(classes_of(self.task).index(found)))]

    def _encode(self, texts: Sequence[tuple[str, str | None]]) -> list[dict[str, list[int]]]:
        """Tokenize texts and pairs, cut to the most tokens where the longer of a pair is cut first."""
        encodings: list[dict[str, list[int]]] = []
        for first, second in texts:
            pair = () if second is None else (second,)
            encoded = self.tokenizer(first, *pair, truncation="longest_first", max_length=self._most_tokens)
            encodings.append({name: list(values) for name, values in encoded.items()})
        return encodings

    @property
    def _most_tokens(self) -> int:
        return int(min(self.config.max_length, self.tokenizer.model_max_length))

    def size(self, example: Example) -> int:
        """Return the number of tokens."""
        return len(example.encoding["input_ids"])

    def new_model(self) -> torch.nn.Module:
        """Return the base model with a new head."""
        num_labels = 1 if self._ranks else len(classes_of(self.task))
        return self._load(local_base(self.config, self.storage), num_labels=num_labels)

    def _load(self, path: str, **settings: Any) -> torch.nn.Module:
        from transformers import AutoModelForSequenceClassification

        return load_with_head(AutoModelForSequenceClassification, self.config, path, **settings)

    def _logits(self, model: torch.nn.Module, encodings: Sequence[dict[str, list[int]]]) -> torch.Tensor:
        logits: torch.Tensor = model(**pad(self.tokenizer, encodings, model)).logits
        return logits.float()

    def losses(self, model: torch.nn.Module, batch: Sequence[Example], *, is_training: bool) -> torch.Tensor:  # noqa: ARG002
        """Return cross-entropies of classes times their weights, or squared errors of grades: float [batch]."""
        logits = self._logits(model, [example.encoding for example in batch])
        targets = torch.tensor([example.target for example in batch], device=logits.device)
        if self._ranks:
            return (logits[:, 0] - targets).square()
        weights = self.class_weights.to(logits.device)
        return functional.cross_entropy(logits, targets.long(), weight=weights, reduction="none")

    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write model and tokenizer in transformers' format."""
        save_pretrained(model, self.tokenizer, directory)

    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""
        self.tokenizer = load_tokenizer(self.config, str(directory))
        return self._load(str(directory))

    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Answer by the likeliest class, or by the candidates in the order of their scores."""
        if self._ranks:
            return self._rankings(model, rows)
        encodings = self._encode([text_pair(row["input"]) for row in rows])
        logits = self._all_logits(model, encodings).log_softmax(-1)
        names, answered = classes_of(self.task), []
        for row, encoding, own in zip(rows, encodings, logits.tolist(), strict=True):
            scores = {answer_of(self.task, row, name): value for name, value in zip(names, own, strict=True)}
            answered.append(self._answered(max(scores, key=lambda text: scores[text]), scores, [encoding]))
        return answered

    def _rankings(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        found = [query_and_products(row["input"]) for row in rows]
        pairs = [(own[0], product) for own in found if own for product in own[1]]
        encodings = self._encode(pairs)
        scores = iter(zip(self._all_logits(model, encodings)[:, 0].tolist() if pairs else (), encodings, strict=True))
        answered = []
        for own in found:
            candidates = [next(scores) for _ in own[1]] if own else []
            by_score = sorted(range(len(candidates)), key=lambda place: -candidates[place][0])
            text = ",".join(ascii_uppercase[place] for place in by_score if place < len(ascii_uppercase))
            answered.append(self._answered(text, None, [encoding for _, encoding in candidates]))
        return answered

    def _answered(
        self, text: str, scores: dict[str, float] | None, encodings: Sequence[dict[str, list[int]]]
    ) -> Answered:
        lengths = [len(encoding["input_ids"]) for encoding in encodings]
        # What is as long as may be was cut, but for the rare text of just this length.
        return Answered(text, scores, max(lengths, default=0) >= self._most_tokens, sum(lengths))

    def _all_logits(self, model: torch.nn.Module, encodings: Sequence[dict[str, list[int]]]) -> torch.Tensor:
        """Return the logits of all texts in their order, computed in batches of like length: float [texts, classes]."""
        order = sorted(range(len(encodings)), key=lambda place: len(encodings[place]["input_ids"]))
        logits: list[torch.Tensor] = [torch.empty(0)] * len(encodings)
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), _ANSWER_BATCH):
                places = order[start : start + _ANSWER_BATCH]
                own = self._logits(model, [encodings[place] for place in places]).cpu()
                for place, values in zip(places, own, strict=True):
                    logits[place] = values
        return torch.stack(logits)


def _graded(row: Row) -> list[tuple[tuple[str, str | None], float]]:
    """Return (query, product) with its grade: its label's place among E, S, C, I, else its place in the reference."""
    found = query_and_products(row["input"])
    if found is None:
        return []
    query, products = found
    relevance = row.get("relevance")
    if relevance and len(relevance) == len(products) and set(relevance) <= GAINS.keys():
        worst = len(GAINS) - 1
        grades = [1 - list(GAINS).index(label) / worst for label in relevance]
    else:
        order = [letter.strip() for letter in str(row["output"]).split(",")]
        letters = ascii_uppercase[: len(products)]
        if sorted(order) != list(letters) or len(order) < 2:
            return []
        grades = [1 - order.index(letter) / (len(order) - 1) for letter in letters]
    return [((query, product), grade) for product, grade in zip(products, grades, strict=True)]
