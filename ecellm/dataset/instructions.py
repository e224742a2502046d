"""The catalogue of instructions: per task one seed, rewrites of it, and one wording held out for the unseen test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from typing import Any

from ecellm.errors import InputError
from ecellm.storage import Storage


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

    def draw(self, seed: int, key: str) -> int:
        """Return the index of a wording, uniform over `diverse` and fixed by (seed, key)."""
        digest = blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % len(self.diverse)


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
    if unseen in diverse:
        raise InputError(f"{path}: {name}: the unseen instruction must not be among the diverse ones")
    return Instructions((seed, *(text for text in diverse if text != seed)), unseen)
