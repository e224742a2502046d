"""The catalogue of instructions: per task one seed, rewrites of it, and one wording held out for the unseen test."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from ecellm.dataset.hashing import UIntArray, ranks_of_words
from ecellm.dataset.sample import check_text
from ecellm.errors import InputError
from ecellm.settings import Setting
from ecellm.storage import Storage
from ecellm.visible_text import short_repr

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Instructions:
    """Wordings of one task.

    Attributes:
        diverse: the seed, then its rewrites; index in it is the sample's instruction_index.
        unseen: the held-out wording; its index is len(diverse).
    """

    diverse: tuple[str, ...]
    unseen: str

    @property
    def seed(self) -> str:
        """The wording of the single-instruction settings."""
        return self.diverse[0]

    @property
    def wordings(self) -> tuple[str, ...]:
        """All texts, by instruction_index."""
        return (*self.diverse, self.unseen)

    def indices(self, setting: Setting, words: UIntArray, seed: int) -> IntArray:
        """Return the index of each example's wording in a setting: int64 [num_examples].

        In the diverse settings it is drawn, uniform over `diverse`, by seed and content of the example.

        Args:
            setting: the setting.
            words: uint64 [num_examples], the first 64 bits of the examples' ids.
            seed: of the draws.
        """
        if setting.instruction_kind == "single":
            return np.zeros(len(words), np.int64)
        if setting.instruction_kind == "unseen":
            return np.full(len(words), len(self.diverse), np.int64)
        ranks = ranks_of_words(words, seed, "instruction")
        return (ranks % np.uint64(len(self.diverse))).astype(np.int64)


def read_catalogue(storage: Storage, path: str | None) -> dict[str, Instructions]:
    """Read a catalogue, by short task name; None gives the project's own.

    Raises:
        InputError: the file is not `{"tasks": {NAME: {"seed", "diverse", "unseen"}}}`.
    """
    if path is None:
        value = json.loads(resources.files("ecellm.tasks").joinpath("instructions.json").read_text(encoding="utf-8"))
    else:
        value = storage.read_json(path)
    tasks = value.get("tasks") if isinstance(value, dict) else None
    if not isinstance(tasks, dict):
        raise InputError(f"{path}: a catalogue is an object with 'tasks'")
    return {name: _entry(name, entry, path) for name, entry in tasks.items()}


def _entry(name: str, entry: Any, path: str | None) -> Instructions:
    if not isinstance(entry, Mapping):
        raise InputError(f"{path}: {name} must be an object with seed, diverse and unseen")
    seed, diverse, unseen = entry.get("seed"), entry.get("diverse", []), entry.get("unseen")
    if not isinstance(seed, str) or not isinstance(unseen, str) or not isinstance(diverse, list):
        raise InputError(f"{path}: {name} needs the texts 'seed' and 'unseen' and the list 'diverse'")
    if not all(isinstance(text, str) for text in diverse):
        raise InputError(f"{path}: {name}: 'diverse' must hold texts")
    for text in (seed, unseen, *diverse):
        check_text(f"{path}: {name}: a wording", text, nullable=False)
    repeated = sorted(text for text, number in Counter(diverse).items() if number > 1)
    if repeated:
        raise InputError(f"{path}: {name}: 'diverse' has this text twice: {short_repr(repeated[0])}")
    if unseen in (seed, *diverse):
        raise InputError(
            f"{path}: {name}: the unseen instruction must not be among the diverse ones, the seed included"
        )
    return Instructions((seed, *(text for text in diverse if text != seed)), unseen)
