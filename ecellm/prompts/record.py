"""What a model was tuned with, written beside its weights: `prompt.json`, which goes where the weights go.

{"prompt_format": "mistral", "max_length": 2048, "max_answer_tokens": 100}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecellm.errors import InputError
from ecellm.json_text import read_json
from ecellm.models import read_beside
from ecellm.storage import Storage

RECORD_NAME = "prompt.json"


@dataclass(frozen=True)
class PromptRecord:
    """The prompts that a model learned from.

    Attributes:
        prompt_format: their wire format.
        max_length: tokens of prompt and answer together.
        max_answer_tokens: tokens of max_length kept free for the answer.
    """

    prompt_format: str
    max_length: int
    max_answer_tokens: int


def record_of(preprocess: Mapping[str, Any]) -> PromptRecord | None:
    """Return the record that the config of a preprocess run makes; None if it is not known, or not such a config."""
    try:
        return _checked({name: preprocess[name] for name in PromptRecord.__dataclass_fields__})
    except (KeyError, TypeError):
        return None


def write_record(directory: Path, preprocess: Mapping[str, Any]) -> None:
    """Write the record into a model's local directory; nothing if it is not known.

    Args:
        directory: where the weights are.
        preprocess: config of the preprocess run that made the training rows; empty if others made them.
    """
    if record := record_of(preprocess):
        (directory / RECORD_NAME).write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def _checked(values: Any) -> PromptRecord:
    """Return the record of some values; raise TypeError if they are not those of one."""
    record = PromptRecord(**values)
    if not isinstance(record.prompt_format, str) or {type(record.max_length), type(record.max_answer_tokens)} != {int}:
        raise TypeError("a prompt format and two numbers are wanted")
    return record


def read_record(name: str, revision: str | None, storage: Storage) -> PromptRecord | None:
    """Return the record of a model or an adapter, None if it has none.

    Args:
        name: path, URL, package or hub name.
        revision: on the hub; None = main.
        storage: access to URLs.

    Raises:
        InputError: there is one that cannot be understood.
    """
    content = read_beside(name, RECORD_NAME, revision, storage)
    if content is None:
        return None
    try:
        return _checked(read_json(content))
    except (ValueError, TypeError):
        raise InputError(
            f"model {name}: {RECORD_NAME} beside it is not what finetune wrote; remove it to do without"
        ) from None
