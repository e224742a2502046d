import json
import shutil

import pytest
import torch

from ecellm.config import FinetuneConfig, LoraSettings
from ecellm.errors import InputError
from ecellm.model_loading import load_base
from ecellm.training import model as model_module
from ecellm.training.model import (
    add_adapters,
    build_model,
    four_bits,
    linear_layers,
    special_tokens,
    trainable_parameters,
    uses_bf16,
)

LAYERS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def config(**changes):
    return FinetuneConfig(rows_dir="rows", base_model="model", output_dir="out", **changes)


def load(path):
    return load_base(str(path), revision=None, dtype=torch.float32)


def test_all_linear_layers_and_the_output_layer_are_adapted(llama):
    assert linear_layers(load(llama)) == sorted([*LAYERS, "lm_head"])


def test_an_output_layer_tied_to_the_embeddings_is_left_out(tied_llama):
    assert linear_layers(load(tied_llama)) == LAYERS


def test_sequence_to_sequence_layers_are_those_of_the_paper(t5):
    model = load(t5)
    layers = ["k", "o", "q", "v", "wi_0", "wi_1", "wo"]
    assert linear_layers(model) == layers  # a new T5 ties its output layer; Flan-T5's has weights of its own
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert linear_layers(model) == sorted([*layers, "lm_head"])


def test_adapters_are_a_function_of_the_seed(llama):
    first, same, other = (
        trainable_parameters(add_adapters(load(llama), LoraSettings(r=2), seed=seed)) for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_only_the_named_modules_are_adapted(llama):
    model = add_adapters(load(llama), LoraSettings(r=2, target_modules=("q_proj",)), seed=1)
    assert all("q_proj" in name for name in trainable_parameters(model))


def test_full_trains_every_weight(llama):
    model = build_model(str(llama), config(method="full", gradient_checkpointing=True), bf16=False)
    assert len(trainable_parameters(model)) == len(list(model.named_parameters()))
    assert model.is_gradient_checkpointing


def test_precision_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not uses_bf16(config())
    assert uses_bf16(config(precision="bf16"))


@pytest.mark.parametrize(("kind", "expected"), [("llama", (0, None)), ("t5", (0, 0))])
def test_special_tokens(kind, expected, request):
    assert special_tokens(load(request.getfixturevalue(kind)).config) == expected


def test_four_bits_are_refused_where_there_is_no_gpu(llama, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="this one has none"):
        build_model(str(llama), config(method="qlora", use_gpu=True), bf16=True)


@pytest.mark.parametrize(
    ("installed", "bf16", "stage", "told"),
    [
        (False, True, 2, r"pip install 'ecellm\[qlora\]'"),
        (True, False, 2, "computes in bf16"),
        (True, True, 3, "deepspeed.stage=3"),
    ],
)
def test_what_four_bits_need_is_said(installed, bf16, stage, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(model_module, "find_spec", lambda _name: object() if installed else None)
    with pytest.raises(InputError, match=told):
        four_bits(config(method="qlora", use_gpu=True, deepspeed={"stage": stage}), bf16=bf16)


def test_four_bits_are_nf4_with_double_quantization(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(model_module, "find_spec", lambda _name: object())
    made = four_bits(config(method="qlora", use_gpu=True), bf16=True)
    assert (made.load_in_4bit, made.bnb_4bit_quant_type, made.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert made.bnb_4bit_compute_dtype == torch.bfloat16


def test_qlora_trains_the_same_adapters_as_lora(llama, monkeypatch):
    """All but the 4-bit layers themselves, which need a GPU: preparation and adapters on a base in full."""
    monkeypatch.setattr(model_module, "four_bits", lambda _config, **_: None)
    made = {
        method: build_model(str(llama), config(method=method, use_gpu=True, gradient_checkpointing=True), bf16=False)
        for method in ("lora", "qlora")
    }
    lora, qlora = (trainable_parameters(model) for model in made.values())
    assert list(lora) == list(qlora)
    assert all(torch.equal(lora[name], qlora[name]) for name in lora)
    assert any("lm_head" in name for name in qlora)
    assert made["qlora"].is_gradient_checkpointing


CUSTOM_CODE = """
from transformers import LlamaConfig


class OwnConfig(LlamaConfig):
    model_type = "own"
"""


def test_code_that_a_model_brings_along_runs_only_on_request(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    own = tmp_path / "own"
    shutil.copytree(llama, own)
    (own / "own.py").write_text(CUSTOM_CODE)
    settings = json.loads((own / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own_model.OwnModel"}
    (own / "own_model.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .own import OwnConfig\n\n\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    (own / "config.json").write_text(json.dumps({**settings, "model_type": "own", "auto_map": classes}))
    with pytest.raises(ValueError, match="trust_remote_code"):
        build_model(str(own), config(), bf16=False)
    model = build_model(str(own), config(trust_remote_code=True, lora={"r": 2}), bf16=False)
    assert type(model.get_base_model()).__name__ == "OwnModel"
