"""What a task-specific model is to the loop that trains it and to the actors that answer with it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch

from ecellm.baselines.sample_texts import Row
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import Task


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        text: as the task expects it; empty where the row cannot be read.
        scores: log-probability of each choice by its text; None where there are none.
        was_shortened: whether texts were cut to fit.
        num_tokens: tokens or items that the model read.
    """

    text: str
    scores: dict[str, float] | None = None
    was_shortened: bool = False
    num_tokens: int = 0


class Learner(ABC):
    """One kind of model for one task.

    Attributes:
        config: the job's config.
        task: the task.
        storage: access to the base model.
        needs: a module that only this kind imports, and the extra that brings it; None for none.
    """

    needs: ClassVar[tuple[str, str] | None] = None

    def __init__(self, config: BaselineConfig, task: Task, storage: Storage) -> None:
        self.config = config
        self.task = task
        self.storage = storage

    @classmethod
    @abstractmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether such a model can answer a task."""

    @abstractmethod
    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[Any]:
        """Return what is learned from rows; those that cannot be read give nothing.

        Args:
            rows: of the samples.
            is_training: whether they are train rows, from which a vocabulary is learned, rather than val rows.
        """

    @abstractmethod
    def size(self, example: Any) -> int:
        """Return the length of an example, by which batches are made of like ones."""

    @abstractmethod
    def new_model(self) -> torch.nn.Module:
        """Return the untrained model, after `examples` of the training rows."""

    @abstractmethod
    def losses(self, model: torch.nn.Module, batch: Sequence[Any], *, is_training: bool) -> torch.Tensor:
        """Return the loss of each example: float [batch]."""

    @abstractmethod
    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write what `load` needs: safetensors, JSON, tokenizer."""

    @abstractmethod
    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""

    @abstractmethod
    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Answer rows."""


_LEARNERS = {
    "encoder": ("ecellm.baselines.encoder", "EncoderLearner"),
    "span": ("ecellm.baselines.span", "SpanLearner"),
    "tagger": ("ecellm.baselines.tagger", "TaggerLearner"),
    "recformer": ("ecellm.baselines.recformer", "RecformerLearner"),
    "rgcn": ("ecellm.baselines.rgcn", "RgcnLearner"),
    "gsasrec": ("ecellm.baselines.gsasrec", "GsasrecLearner"),
}


def learner_class(kind: str) -> type[Learner]:
    """Return the class of a kind of model; each is imported only where it is used."""
    module, name = _LEARNERS[kind]
    found: type[Learner] = getattr(import_module(module), name)
    return found
