import pytest
import torch

from ecellm.config import FinetuneConfig, LoraSettings
from ecellm.training.model import (
    add_adapters,
    build_model,
    linear_layers,
    load_base,
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
