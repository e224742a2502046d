"""Adapted layers in one piece give peft's outputs and gradients."""

import pytest
import torch
from architectures import CAUSAL, SEQUENCE_TO_SEQUENCE, make
from test_batches import training_rows
from test_loss import randomised_adapters

from ecellm.config import LoraSettings
from ecellm.training.batches import collate, token_weights
from ecellm.training.lora_linear import fuse_adapters
from ecellm.training.loss import AnswerLoss, tensors
from ecellm.training.model import add_adapters, special_tokens


def loss_and_gradients(model, rows):
    pad, start = special_tokens(model.config)
    batch = collate(rows, token_weights(rows, "sample"), pad_token_id=pad, decoder_start_token_id=start)
    torch.manual_seed(5)
    loss = AnswerLoss(model)(**tensors(batch, torch.device("cpu")))
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", [*CAUSAL, *SEQUENCE_TO_SEQUENCE])
def test_losses_and_gradients_are_peft_s(architecture):
    rows = training_rows(4, seq2seq=architecture in SEQUENCE_TO_SEQUENCE)
    plain, fused = (randomised_adapters(make(architecture)) for _ in range(2))
    assert fuse_adapters(fused) == sum(name.endswith("lora_A.default.weight") for name, _ in plain.named_parameters())
    (loss, gradients), (other, others) = (loss_and_gradients(model, rows) for model in (plain, fused))
    assert other == pytest.approx(loss, abs=1e-5)
    assert set(gradients) == set(others)
    scale = max(float(own.abs().max()) for own in gradients.values())
    assert all(torch.allclose(others[name], own, atol=1e-5 * scale) for name, own in gradients.items())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_layer(bias, dropout, dtype):
    from peft import LoraConfig, get_peft_model

    def layer():
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(12, 20, bias=bias))
        settings = LoraConfig(r=3, lora_alpha=6, lora_dropout=dropout, target_modules=["0"], init_lora_weights=False)
        return get_peft_model(model, settings).to(dtype).train()

    results = []
    for is_fused in (False, True):
        model = layer()
        assert not is_fused or fuse_adapters(model) == 1
        x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
        torch.manual_seed(3)
        output = model(x)
        (output.float() ** 2).sum().backward()
        own = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
        results.append((output, x.grad, *own.values()))
        assert len(own) == 2
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for first, second in zip(*results, strict=True):
        assert first.dtype == second.dtype == dtype
        assert torch.allclose(
            first.float(), second.float(), rtol=tolerance, atol=tolerance * float(first.detach().abs().max())
        )


def test_generation_saving_and_merging_are_peft_s_own(tmp_path):
    model = randomised_adapters(make("llama"))
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    fuse_adapters(model)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, expected)
    with model.disable_adapter():
        base = model(input_ids=ids).logits
    assert not torch.allclose(base, expected, atol=1e-3)
    merged = model.merge_and_unload()
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, expected, atol=1e-4)


def test_gradients_reach_the_first_adapter_through_checkpointing():
    model = add_adapters(make("llama"), LoraSettings(r=2, dropout=0.0), seed=1)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    fuse_adapters(model)
    _, gradients = loss_and_gradients(model.train(), training_rows(3))
    assert all(f"layers.{layer}." in " ".join(gradients) for layer in (0, 1))
