import numpy as np
import pytest
from conftest import save_tokenizer

from ecellm.training.batches import TrainingRow
from ecellm.training.example_view import marked_example
from ecellm.training.tiny_model import train_tokenizer


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("words")
    save_tokenizer(directory)
    return AutoTokenizer.from_pretrained(directory)


def row(ids, num_prompt_tokens, labels=None):
    labels = None if labels is None else np.array(labels, np.int32)
    return TrainingRow(0, "s0", np.array(ids, np.int32), labels, num_prompt_tokens)


def test_the_marks_stand_around_the_supervised_tokens(words):
    assert marked_example(row([1, 20, 21, 7, 2], 3), words) == "5 tokens, 2 supervised\n<s> w20 w21⟦ w7 </s>⟧"


def test_an_example_without_a_prompt_starts_with_a_token_that_is_not_supervised(words):
    assert marked_example(row([1, 7, 2], 0), words) == "3 tokens, 2 supervised\n<s>⟦ w7 </s>⟧"


def test_pairs_show_the_encoder_and_the_decoder(words):
    text = marked_example(row([20, 21, 2], 3, labels=[7, 2]), words)
    assert text == "5 tokens, 2 supervised\nw20 w21 </s>\ndecoder: ⟦w7 </s>⟧"


def test_a_long_prompt_is_cut_in_the_middle(words):
    text = marked_example(row([1, *range(20, 100), 7, 2], 81), words, max_prompt_tokens=5)
    expected = "<s> w20 [... 76 tokens left out ...] w97 w98 w99⟦ w7 </s>⟧"
    assert text == f"83 tokens, 2 supervised\n{expected}"


def test_text_comes_back_exactly_with_a_real_kind_of_tokenizer():
    prompt, answer = "Is it café?\n\n### Response:\n", "No, ünlikely"
    tokenizer = train_tokenizer([prompt + answer], vocab_size=300, phrase_share=2.0, max_length=100)
    start = tokenizer(prompt)["input_ids"]
    ids = [*start, *tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    counts, text = marked_example(row(ids, len(start)), tokenizer).split("\n", 1)
    assert text == f"<s>{prompt}⟦{answer}</s>⟧"
    assert counts == f"{len(ids)} tokens, {len(ids) - len(start)} supervised"
