"""What an engine is asked and what it answers. Engines know nothing of tasks: the job makes samples into requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class AnswerSpace:
    """What the answer to a sample may be.

    Attributes:
        choices: the allowed answers, where the question is closed; where they are ranked, what is put in order.
        max_new_tokens: most tokens of an answer that is written freely; the default is the paper's.
        ranks_choices: whether the answer names all choices, best first, joined by commas.
        is_one_line: whether an answer is complete where its first line ends.
    """

    choices: tuple[str, ...] | None = None
    max_new_tokens: int = 100
    ranks_choices: bool = False
    is_one_line: bool = False


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Attributes:
        key: identifies the row; seeds its random draws.
        prompt: the prompt's text.
        prompt_ids: its token ids; empty for engines that have no tokenizer.
        max_new_tokens: most tokens of the answer.
        choices: the allowed answers, where the question is closed.
        choice_ids: their token ids behind the prompt, end token included; only where choices are compared.
        ranks_choices: whether the answer names all choices, best first, joined by commas.
        is_one_line: whether the answer is complete where its first line ends.
    """

    key: str
    prompt: str
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    choices: tuple[str, ...] | None = None
    choice_ids: tuple[tuple[int, ...], ...] | None = None
    ranks_choices: bool = False
    is_one_line: bool = False


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: the answer without end token.
        finish_reason: stop (end token, or complete), length (max_new_tokens) or choice.
        num_tokens: tokens of the answer.
        choice_scores: log-probability by choice (decoding `choice`).
        num_prompt_tokens: tokens of the prompt as the engine counted them; None where the request says it.
    """

    text: str
    finish_reason: str
    num_tokens: int
    choice_scores: dict[str, float] | None = None
    num_prompt_tokens: int | None = None


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer: one line for a person, without secrets."""

    reason: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Return an exception as a reason, shortened."""
        return cls(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")


class Engine(Protocol):
    """Runs one model in one process."""

    def answer(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests.

        Args:
            requests: at least one.
            adapter: which of the adapters that the engine was made with answers; None for the model alone.

        Yields:
            (place of the request, its answer), each place once, in any order, as they come.
        """
        ...
