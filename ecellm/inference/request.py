"""What an engine is asked and what it answers. Engines know nothing of tasks: the job makes samples into requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Attributes:
        key: identifies the row; seeds its random draws.
        prompt: the prompt's text.
        prompt_ids: its token ids.
        max_new_tokens: most tokens of the answer.
        choices: the allowed answers, where the question is closed.
        choice_ids: their token ids behind the prompt, end token included.
    """

    key: str
    prompt: str
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    choices: tuple[str, ...] | None = None
    choice_ids: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: the answer without end token.
        finish_reason: stop (end token), length (max_new_tokens) or choice.
        num_tokens: tokens of the answer.
        choice_scores: log-probability by choice (decoding `choice`).
    """

    text: str
    finish_reason: str
    num_tokens: int
    choice_scores: dict[str, float] | None = None


class Engine(Protocol):
    """Runs one model in one process."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order."""
        ...
