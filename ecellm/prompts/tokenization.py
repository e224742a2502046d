"""Token ids of prompts and answers, shortened where they are too long: one way for training and inference.

    input_ids = prompt ids ++ answer ids ++ end token
                              '--- the loss is here ---'

The prompt's ids are the same when the model is trained and when it is asked; the one exception, an over-long prompt
whose answer is longer than `max_answer_tokens` and needs more room, is counted. A
prompt is too long if it leaves fewer than `max_answer_tokens` of `max_length`: then its example is cut first, then its
input, at the end, by characters; instruction, options and answer never.
"""

from dataclasses import dataclass, replace
from typing import Any

from ecellm.prompts.rendering import PromptParts, render


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as the model gets it.

    Attributes:
        text: the prompt.
        ids: its token ids, with the tokenizer's own start token.
        was_shortened: whether example or input was cut.
    """

    text: str
    ids: list[int]
    was_shortened: bool


@dataclass(frozen=True)
class PromptTokenizer:
    """Tokenizes prompts and answers of one model.

    Attributes:
        tokenizer: a transformers tokenizer.
        prompt_format: alpaca, mistral, chat_template, ecomgpt or p5.
        max_length: tokens of prompt and answer together (sequence-to-sequence: of the prompt).
        max_answer_tokens: tokens of max_length kept free for the answer.
        is_encoder_decoder: whether prompt and answer are sequences of their own.
        is_message: whether a prompt is sent as a user's message, which an endpoint puts into its own chat template.
    """

    tokenizer: Any
    prompt_format: str
    max_length: int
    max_answer_tokens: int
    is_encoder_decoder: bool = False
    is_message: bool = False

    def prompt(self, parts: PromptParts, num_answer_tokens: int = 0) -> TokenizedPrompt | None:
        """Tokenize a prompt, shortened if need be; None if it cannot be made to fit.

        Args:
            parts: the sample's texts.
            num_answer_tokens: tokens of the answer and end token, where known; an answer longer than
                max_answer_tokens takes its room from the prompt.
        """
        budget = self.max_length
        if not self.is_encoder_decoder:
            budget -= max(self.max_answer_tokens, num_answer_tokens)
        text, ids = self._encode_parts(parts)
        if len(ids) <= budget:
            return TokenizedPrompt(text, ids, was_shortened=False)
        return self._shorten(parts, budget)

    def _encode_parts(self, parts: PromptParts) -> tuple[str, list[int]]:
        text = render(parts, self.prompt_format, None if self.is_message else self.tokenizer)
        # A chat template writes the start token itself.
        special = self.prompt_format != "chat_template"
        return text, self.tokenizer(text, add_special_tokens=special)["input_ids"]

    def _shorten(self, parts: PromptParts, budget: int) -> TokenizedPrompt | None:
        for field in ("example", "input"):
            text = getattr(parts, field)
            if not text:
                continue
            kept = self._longest_fit(parts, field, text, budget)
            if kept is not None:
                return TokenizedPrompt(*self._encode_parts(replace(parts, **{field: kept})), was_shortened=True)
            parts = replace(parts, **{field: ""})
        return None

    def _longest_fit(self, parts: PromptParts, field: str, text: str, budget: int) -> str | None:
        """Return the longest beginning of `text` that fits, None if not even one character does."""

        def fits(num_characters: int) -> bool:
            cut = replace(parts, **{field: text[:num_characters]})
            return len(self._encode_parts(cut)[1]) <= budget

        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        # Tokens do not grow strictly with characters: step back until it truly fits.
        while low > 0 and not fits(low):
            low -= 1
        return text[:low] if low > 0 else None

    def answer(self, prompt_text: str, prompt_ids: list[int], answer: str) -> list[int]:
        """Return the ids of answer and end token that follow a prompt.

        They are the ids that the answer has in its place behind the prompt, if the prompt's ids stay as they are
        there; else those of the answer alone.
        """
        end = [self.tokenizer.eos_token_id]
        if not self.is_encoder_decoder:
            special = self.prompt_format != "chat_template"
            whole = self.tokenizer(prompt_text + answer, add_special_tokens=special)["input_ids"]
            whole = whole[:-1] if whole[-1:] == end and not answer.endswith(self.tokenizer.eos_token) else whole
            if whole[: len(prompt_ids)] == prompt_ids and self.decode(whole[len(prompt_ids) :]) == answer:
                return [*whole[len(prompt_ids) :], *end]
        return [*self.tokenizer(answer, add_special_tokens=False)["input_ids"], *end]

    def decode(self, ids: list[int]) -> str:
        """Return the exact text of ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


@dataclass(frozen=True)
class TrainingText:
    """A sample as token ids for training.

    Attributes:
        input_ids: prompt, answer, end token (sequence-to-sequence: the prompt).
        labels: sequence-to-sequence: answer and end token; else None.
        num_prompt_tokens: the loss starts behind so many of input_ids.
        was_shortened: whether example or input was cut.
        is_shorter_than_asked: whether the prompt was cut more than it will be when the model is asked, because the
            answer is longer than max_answer_tokens.
        is_exact: whether the supervised ids decode to the answer byte for byte (some tokenizers normalise text).
    """

    input_ids: list[int]
    labels: list[int] | None
    num_prompt_tokens: int
    was_shortened: bool
    is_shorter_than_asked: bool
    is_exact: bool


def tokenize_for_training(tokenizer: PromptTokenizer, parts: PromptParts, answer: str) -> TrainingText | str:
    """Tokenize a sample with its answer; return the reason if it must be dropped.

    The answer is never cut: the input is shortened to make room for it, and where even that does not do, the row is
    dropped.
    """
    alone = len(tokenizer.answer("", [], answer))
    prompt = tokenizer.prompt(parts, alone)
    if prompt is None:
        return "prompt_and_answer_do_not_fit"
    answer_ids = tokenizer.answer(prompt.text, prompt.ids, answer)
    is_exact = tokenizer.decode(answer_ids[:-1]) == answer
    is_shorter = prompt.was_shortened and not tokenizer.is_encoder_decoder and alone > tokenizer.max_answer_tokens
    if tokenizer.is_encoder_decoder:
        return TrainingText(prompt.ids, answer_ids, len(prompt.ids), prompt.was_shortened, is_shorter, is_exact)
    if len(prompt.ids) + len(answer_ids) > tokenizer.max_length:
        return "prompt_and_answer_do_not_fit"
    return TrainingText([*prompt.ids, *answer_ids], None, len(prompt.ids), prompt.was_shortened, is_shorter, is_exact)
