"""Prompts and answers as ids: what breaks silently when it breaks."""

import pytest

from ecellm.prompts.rendering import PromptParts, render
from ecellm.prompts.tokenization import PromptTokenizer, tokenize_for_training

PARTS = PromptParts("Say what it is.", "a blue lamp {not a field} " + "ünïcode 日本 " * 3, "A: x, B: y")
ANSWERS = [
    "yes",
    "A: very positive",
    '[{"attribute": "color", "value": "blue"}]',
    "日本 ok",
    " lead",
    "A,B,C",
    "two\nlines",
]


def prompt_tokenizer(tokenizer_and_format, max_length=600, max_answer_tokens=60):
    tokenizer, prompt_format = tokenizer_and_format
    return PromptTokenizer(tokenizer, prompt_format, max_length, max_answer_tokens)


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_supervised_tokens_are_exactly_answer_and_end(tokenizer_and_format, answer):
    tokenizer = prompt_tokenizer(tokenizer_and_format)
    text = tokenize_for_training(tokenizer, PARTS, answer)
    supervised = text.input_ids[text.num_prompt_tokens :]
    assert supervised[-1] == tokenizer.tokenizer.eos_token_id
    if text.is_exact:
        assert tokenizer.decode(supervised[:-1]) == answer
    else:  # a tokenizer that swallows a leading space cannot give it back
        assert answer.startswith(" ")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("words", [3, 5000])
def test_the_prompt_is_the_same_when_trained_and_when_asked(tokenizer_and_format, answer, words):
    tokenizer = prompt_tokenizer(tokenizer_and_format)
    parts = PromptParts("Say what it is.", "lamp " * words, None, "Input: x\nAnswer: y")
    trained = tokenize_for_training(tokenizer, parts, answer)
    asked = tokenizer.prompt(parts)
    assert trained.input_ids[: trained.num_prompt_tokens] == asked.ids
    assert trained.was_shortened == asked.was_shortened == (words == 5000)
    assert len(trained.input_ids) <= 600


def test_shortening_cuts_the_example_first_then_the_input_and_nothing_else(tokenizer_and_format):
    tokenizer = prompt_tokenizer(tokenizer_and_format, max_length=420, max_answer_tokens=20)
    parts = PromptParts("Keep this instruction.", "the input stays", "A: one", "example " * 400)
    cut = tokenizer.prompt(parts)
    assert cut.was_shortened
    assert "the input stays" in cut.text
    assert 400 - 8 <= len(cut.ids) <= 400
    longer = tokenizer.prompt(PromptParts("Keep this instruction.", "word " * 4000, "A: one", "example " * 400))
    assert "Keep this instruction." in longer.text
    assert "A: one" in longer.text
    assert "example" not in longer.text
    assert len(longer.ids) <= 400


def test_an_answer_is_never_cut(tokenizer_and_format):
    tokenizer = prompt_tokenizer(tokenizer_and_format, max_length=400, max_answer_tokens=20)
    long_answer = "blue lamp " * 15
    text = tokenize_for_training(tokenizer, PromptParts("Do.", "word " * 500), long_answer)
    assert tokenizer.decode(text.input_ids[text.num_prompt_tokens : -1]).strip() == long_answer.strip()
    assert len(text.input_ids) <= 400
    assert tokenize_for_training(tokenizer, PARTS, "blue lamp " * 500) == "prompt_and_answer_do_not_fit"


def test_a_prompt_without_room_is_dropped_not_cut(tokenizer_and_format):
    tokenizer = prompt_tokenizer(tokenizer_and_format, max_length=70, max_answer_tokens=20)
    assert tokenize_for_training(tokenizer, PromptParts("long instruction " * 50, "x"), "yes") == (
        "prompt_and_answer_do_not_fit"
    )


def test_braces_in_texts_mean_nothing(tokenizer_and_format):
    tokenizer, prompt_format = tokenizer_and_format
    text = render(PromptParts("{input}", "{options} %s", "{x}"), prompt_format, tokenizer)
    for part in ("{input}", "{options} %s", "{x}"):
        assert part in text
