"""A model that lets packed samples see each other is found out before it is trained."""

from types import SimpleNamespace

import pytest
import torch
from architectures import make
from test_batches import training_rows

from ecellm.errors import InputError
from ecellm.training.loss import AnswerLoss
from ecellm.training.packing_check import check_packing


def passes_of(model):
    module = AnswerLoss(model)
    engine = SimpleNamespace(train=lambda mode=True: module.train(mode), loss=module)
    return SimpleNamespace(engine=engine, pad_token_id=0, device=torch.device("cpu"))


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_models_that_look_at_positions_pass(architecture):
    check_packing(passes_of(make(architecture)), training_rows(3))


def test_a_model_that_carries_a_state_along_is_refused():
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=160, hidden_size=32, state_size=8, num_hidden_layers=2, pad_token_id=0, initializer_range=0.5
    )
    with pytest.raises(InputError, match=r"does not keep packed samples apart: .* instead of .*packing=false"):
        check_packing(passes_of(MambaForCausalLM(config)), training_rows(3))


@pytest.mark.parametrize("seed", range(3))
def test_bf16_is_no_reason_to_refuse(seed):
    rows = training_rows(12)[3 * seed : 3 * seed + 3]
    check_packing(passes_of(make("llama").to(torch.bfloat16)), rows)


def test_a_model_whose_positions_are_ignored_is_refused():
    model = make("llama")
    forward = model.forward
    model.forward = lambda position_ids=None, **inputs: forward(**inputs)
    with pytest.raises(InputError, match="packed samples apart"):
        check_packing(passes_of(model), training_rows(3))
