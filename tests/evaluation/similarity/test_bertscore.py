"""BERTScore: equal to an independent computation and to the library that the released scorer uses."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch

from ecellm.errors import InputError
from ecellm.evaluation.similarity import bertscore
from ecellm.evaluation.similarity.bertscore import BertScore, layer_of
from ecellm.evaluation.similarity.loading import loadable
from ecellm.evaluation.similarity.texts import TextPair
from tests.evaluation.similarity.conftest import SENTENCES, hostile_pairs, ordinary_pairs
from tests.evaluation.similarity.second_bertscore import by_hand, by_the_library

LAYER = 5
NAMES = BertScore.metric_names
TOLERANCE = 2e-6  # fp32 sums in another order


def load(path, *, layer=LAYER, batch_size=8):
    return BertScore(path, revision=None, layer=layer, batch_size=batch_size, device="cpu")


def matrix(figures):
    return np.array([figures[name] for name in NAMES]).T


@pytest.fixture(scope="module")
def score(encoder):
    return load(encoder).score


def test_it_equals_an_independent_computation(encoder, score):
    pairs = [*ordinary_pairs(), *hostile_pairs()]
    figures = matrix(score(pairs))
    assert np.abs(figures - by_hand(encoder, pairs, LAYER)).max() < TOLERANCE
    assert np.isfinite(figures).all()
    assert figures[: len(SENTENCES) * 4].std() > 0.05  # the figures tell pairs apart


def test_it_equals_the_library_pair_by_pair(encoder, score):
    pairs = [pair for pair in [*ordinary_pairs(), *hostile_pairs()] if pair.answer and pair.reference]
    assert np.abs(matrix(score(pairs)) - by_the_library(encoder, pairs, LAYER)).max() < TOLERANCE


def test_it_does_not_depend_on_company_order_batch_size_or_chunks(encoder, score, monkeypatch):
    pairs = [*ordinary_pairs(), *hostile_pairs()[:6]]
    together = matrix(score(pairs))
    alone = np.vstack([matrix(score([pair])) for pair in pairs])
    assert np.abs(together - alone).max() < TOLERANCE
    assert np.abs(together - matrix(score(pairs[::-1]))[::-1]).max() < TOLERANCE
    assert np.abs(together - matrix(load(encoder, batch_size=1).score(pairs))).max() < TOLERANCE
    monkeypatch.setattr(bertscore, "_MOST_TOKENS_HELD", 300)
    assert np.abs(together - matrix(score(pairs))).max() < TOLERANCE


def test_a_text_is_encoded_once_however_often_it_is_compared(encoder):
    measure = load(encoder)
    encoded = []
    measure._model.register_forward_pre_hook(
        lambda _model, _args, inputs: encoded.append(len(inputs["input_ids"])), with_kwargs=True
    )
    measure.score([TextPair(answer, reference) for answer in SENTENCES[:3] for reference in SENTENCES])
    assert sum(encoded) == len(SENTENCES)


def test_nothing_to_compare_scores_nothing(score):
    assert score([]) == {name: [] for name in NAMES}
    empty = [TextPair("", ""), TextPair("", SENTENCES[0]), TextPair(SENTENCES[0], ""), TextPair("\x00", "x")]
    assert not matrix(score(empty)).any()
    assert matrix(score([TextPair(SENTENCES[1], SENTENCES[1])])) == pytest.approx(1)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A random RoBERTa with a byte-level tokenizer of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaConfig, RobertaModel

    path = tmp_path_factory.mktemp("roberta")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for pair in ordinary_pairs() for text in pair], trainer)
    tokenizer.model.save(str(path))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    model = RobertaModel(RobertaConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130, **sizes))
    for name, parameter in model.named_parameters():
        if "LayerNorm" not in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(path)
    return str(path)


def test_roberta_reads_a_first_word_like_any_other_as_the_library_did(roberta):
    from transformers import AutoTokenizer

    pairs = [pair for pair in ordinary_pairs() if len(pair.answer.split()) < 40]
    ours = matrix(load(roberta, layer=2).score(pairs))
    spaced = AutoTokenizer.from_pretrained(roberta, add_prefix_space=True, model_max_length=128)
    assert np.abs(ours - by_the_library(roberta, pairs, 2, spaced)).max() < TOLERANCE
    plain = AutoTokenizer.from_pretrained(roberta, model_max_length=128)
    assert np.abs(ours - by_the_library(roberta, pairs, 2, plain)).max() > 0.01  # what it does with transformers 5


def test_an_encoder_that_does_not_say_how_long_texts_may_be_cuts_them_at_its_positions(roberta):
    figures = load(roberta, layer=2).score([TextPair("lamp " * 9_000, "red " * 9_000)])
    assert np.isfinite(matrix(figures)).all()


def test_the_layer_is_the_usual_one_or_must_be_given():
    assert layer_of("FacebookAI/roberta-large", None) == layer_of("/models/roberta-large/", None) == 17
    assert layer_of("roberta-large", 3) == 3
    with pytest.raises(InputError, match="bertscore_layer must be given: my/encoder has no usual layer"):
        layer_of("my/encoder", None)


def test_known_layers_are_those_of_the_library():
    from bert_score.utils import model2layers

    theirs = {name.rpartition("/")[2]: layer for name, layer in model2layers.items()}
    assert {name: theirs[name] for name in bertscore.KNOWN_LAYERS} == bertscore.KNOWN_LAYERS


def test_what_is_no_whole_encoder_is_refused(encoder, tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, BartConfig

    with pytest.raises(InputError, match="bertscore_layer=7, but .* has 6 layers"):
        load(encoder, layer=7)
    BartConfig(d_model=16).save_pretrained(tmp_path / "bart")
    with pytest.raises(InputError, match="is a bart, which decodes"):
        load(str(tmp_path / "bart"), layer=1)
    broken = tmp_path / "broken"
    AutoTokenizer.from_pretrained(encoder).save_pretrained(broken)
    shutil.copy(f"{encoder}/config.json", broken)
    weights = load_file(f"{encoder}/model.safetensors")
    del weights["encoder.layer.2.output.dense.weight"]
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(InputError, match="do not fit its config.json: 1 missing, e.g. encoder.layer.2.output.dense"):
        load(str(broken))
    load(str(broken), layer=2)  # what is above the layer is not needed
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"^bertscore_model x cannot be loaded: "), loadable("bertscore_model", "x"):
        load(str(broken))


def test_nothing_is_printed_about_layers_that_are_left_out(encoder, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        load(encoder, layer=2)
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
