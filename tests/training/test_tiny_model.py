"""The tiny model and its tokenizer: they load like any other, and text comes back exactly."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from ecellm.training.tiny_model import make_tiny_model

PREAMBLE = "This line stands before each and every prompt."
TEXTS = [
    f"{PREAMBLE}\n\n### Input:\nthe {color} kettle is {n}\n\n### Response:\nyes"
    for color in ("red", "blue")
    for n in range(9)
]
AWKWARD = [
    "",
    " ",
    "  two  spaces ",
    "a\n\n\nb\t",
    "naïve café 你好 🙂",
    '{"price": NaN, "q": "\\u00e9"}',
    "<s></s><pad>",
    "</s",
    PREAMBLE * 2,
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), TEXTS, vocab_size=300, hidden_size=32)


@pytest.fixture(scope="module")
def tokenizer(model_dir):
    return AutoTokenizer.from_pretrained(model_dir)


def _round_trip(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back_exactly(tokenizer, text):
    assert _round_trip(tokenizer, text) == text


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_exactly(tokenizer, text):
    assert _round_trip(tokenizer, text) == text


def test_the_three_special_tokens_differ_and_the_start_token_comes_first(tokenizer):
    ids = tokenizer("the red kettle")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.eos_token_id not in ids
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_a_line_of_every_text_is_one_token_and_words_of_the_texts_are_too(tokenizer):
    assert len(tokenizer(PREAMBLE, add_special_tokens=False)["input_ids"]) == 1
    assert len(tokenizer(" kettle", add_special_tokens=False)["input_ids"]) == 1


def test_phrases_can_be_switched_off(tmp_path):
    path = make_tiny_model(tmp_path, TEXTS, vocab_size=270, hidden_size=16, num_heads=2, phrase_share=2)
    assert len(AutoTokenizer.from_pretrained(path)(PREAMBLE, add_special_tokens=False)["input_ids"]) > 5


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_model_loads_and_generates(tmp_path, architecture):
    path = make_tiny_model(tmp_path, TEXTS, architecture=architecture, vocab_size=280, hidden_size=32, num_layers=1)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    assert model.config.model_type == architecture
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    inputs = tokenizer(TEXTS[:1], return_tensors="pt", return_token_type_ids=False)
    output = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert output.shape[1] <= inputs["input_ids"].shape[1] + 3


def test_the_seed_fixes_the_weights_and_leaves_torch_as_it_was(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_tiny_model(tmp_path / name, TEXTS, vocab_size=270, hidden_size=16, num_heads=2, seed=seed)
    assert torch.rand(1) == expected
    first, second, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == second != third
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "c/tokenizer.json").read_bytes()


def test_a_very_small_one_is_quick(tmp_path):
    start = time.process_time()
    make_tiny_model(tmp_path, TEXTS, vocab_size=270, hidden_size=16, num_heads=2, num_layers=1)
    assert time.process_time() - start < 2


def test_a_width_that_the_heads_do_not_divide_is_refused(tmp_path):
    with pytest.raises(ValueError, match="hidden_size=30"):
        make_tiny_model(tmp_path, TEXTS, hidden_size=30)
