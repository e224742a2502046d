"""From a sample to the text of its prompt.

    alpaca, mistral   the two wire formats of the published checkpoints, byte for byte (formats.json)
    chat_template     the same parts as one user message, wrapped by the tokenizer's own chat template
    ecomgpt           EcomGPT's wire format, byte for byte around the parts
    p5                P5's prompt for the stars of a review: Sentiment_Analysis alone

A 1-shot example stands between instruction and input under `### Example:`; the release leaves its place open.

EcomGPT learned from one section `### Instruction:` that holds the text first, then what is to be done with it, and the
labels to choose from as part of that sentence. So input, instruction and options go there in this order, the options
word for word behind "Select from the candidate labels:", and an example goes before the section. The answer begins
right behind `### Response:`, with a space where choices are compared; parsers strip it where it is generated.

P5 (Geng et al., Recommendation as Language Processing, RecSys 2022) is a T5 that learns a star rating as text. Here it
learns the option's text that stands for as many stars, which is what the task scores; instruction and options are not
shown, and there is no user in the prompt, for a sample names none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from ecellm.errors import InputError


@dataclass(frozen=True)
class PromptParts:
    """The texts of a sample that make its prompt."""

    instruction: str
    input: str
    options: str | None = None
    example: str | None = None

    @classmethod
    def of(cls, sample: Mapping[str, Any]) -> "PromptParts":
        """Take the parts from a samples row."""
        return cls(sample["instruction"], sample["input"], sample["options"], sample["few_shot_example"])


@lru_cache(maxsize=1)
def _formats() -> dict[str, dict[str, str]]:
    text = resources.files("ecellm.prompts").joinpath("formats.json").read_text(encoding="utf-8")
    formats: dict[str, dict[str, str]] = json.loads(text)
    return formats


def render(parts: PromptParts, prompt_format: str, tokenizer: Any) -> str:
    """Return the prompt's text; the answer follows it directly.

    Args:
        parts: the sample's texts. They are put in as they are: braces in them mean nothing.
        prompt_format: alpaca, mistral, chat_template, ecomgpt or p5.
        tokenizer: asked for its chat template; the wire formats ignore it. None gives the user's message alone, for an
            endpoint that puts it into a template by itself.

    Raises:
        InputError: chat_template is asked of a tokenizer that has none.
    """
    template = _formats()[prompt_format]["with_options" if parts.options else "without_options"]
    text = _fill(template, parts)
    return _as_chat(text, tokenizer) if prompt_format == "chat_template" and tokenizer is not None else text


def before_answer(prompt_format: str) -> str:
    """Return what stands between a prompt of this format and its answer: a space where the prompt ends no line."""
    return "" if prompt_format == "chat_template" or _formats()[prompt_format]["with_options"].endswith("\n") else " "


def _fill(template: str, parts: PromptParts) -> str:
    example = f"### Example:\n{parts.example}\n\n" if parts.example else ""
    return template.format(
        instruction=parts.instruction, input=parts.input, options=parts.options or "", example=example
    )


def _as_chat(text: str, tokenizer: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("prompt_format=chat_template, but the model's tokenizer has no chat template: use alpaca")
    messages = [{"role": "user", "content": text}]
    # Models that can think aloud first are asked not to: answers are short. Other templates ignore the word.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )
