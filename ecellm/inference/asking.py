"""From rows of the samples to requests, for the forecast and the actors: what is asked, what an answer may be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ecellm.config import PredictConfig
from ecellm.dataset.partitions import Partition, list_partitions
from ecellm.inference.request import AnswerSpace, Request
from ecellm.prompts.rendering import PromptParts, before_answer, render
from ecellm.prompts.tokenization import PromptTokenizer, TokenizedPrompt
from ecellm.storage import Storage, absolute

SAMPLE_KEYS = ("sample_id", "example_id", "task", "split", "setting", "row_index")
ASKED_COLUMNS = (*SAMPLE_KEYS, "instruction", "input", "options", "few_shot_example", "relevance")
# Tells of a samples row what its answer may be.
AnswerSpaceOf = Callable[[Mapping[str, Any]], AnswerSpace]


def asked_partitions(config: PredictConfig, storage: Storage) -> dict[Partition, list[str]]:
    """Return the partitions of the samples that are to be answered, in order, with their files.

    Raises:
        InputError: there are none, or a setting or task that was asked for is not there.
    """
    return list_partitions(
        storage, absolute(config.samples_dir), settings=config.settings, splits=(config.split,), tasks=config.tasks
    )


@dataclass(frozen=True)
class Asking:
    """Makes prompts and requests.

    Attributes:
        config: the job's config.
        tokenizer: of the model that answers; None where prompts are texts that are sent whole.
        answer_space: tells what the answer to a row may be.
        answer_limits: most tokens of an answer by task, where they are not the task's own.
    """

    config: PredictConfig
    tokenizer: PromptTokenizer | None
    answer_space: AnswerSpaceOf
    answer_limits: Mapping[str, int]

    def prompt(self, row: Mapping[str, Any]) -> TokenizedPrompt | None:
        """Return a row's prompt, None if it cannot be made to fit; without a tokenizer it has no token ids."""
        parts = PromptParts.of(row)
        if self.tokenizer is not None:
            return self.tokenizer.prompt(parts)
        return TokenizedPrompt(render(parts, self.config.prompt_format, None), [], was_shortened=False)

    def max_new_tokens(self, row: Mapping[str, Any], space: AnswerSpace) -> int:
        """Return the most tokens of an answer that is written."""
        most = self.config.max_answer_tokens
        return most if self._is_paper else min(self.answer_limits.get(row["task"], space.max_new_tokens), most)

    def request(self, row: Mapping[str, Any], prompt: TokenizedPrompt) -> Request:
        """Return what an engine is asked."""
        space = self.answer_space(row)
        choice_ids = None
        if space.choices and self.tokenizer is not None and self.config.decoding == "choice":
            answer, before = self.tokenizer.answer, before_answer(self.config.prompt_format)
            choice_ids = tuple(tuple(answer(prompt.text, prompt.ids, before + choice)) for choice in space.choices)
        return Request(
            key=row["sample_id"],
            prompt=prompt.text,
            prompt_ids=tuple(prompt.ids),
            max_new_tokens=self.max_new_tokens(row, space),
            choices=space.choices,
            choice_ids=choice_ids,
            ranks_choices=space.ranks_choices,
            is_one_line=space.is_one_line and not self._is_paper,
        )

    @property
    def _is_paper(self) -> bool:
        """Whether answers are those of the paper's script, which knows one limit and no lines."""
        return self.config.decoding == "paper"
