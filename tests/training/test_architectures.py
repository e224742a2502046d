"""Every architecture: batched or packed, a sample has the loss that it has alone; saved, the model comes back."""

import pytest
import torch
from architectures import CAUSAL, SEQUENCE_TO_SEQUENCE, make
from test_batches import training_rows
from test_loss import answer_losses, randomised_adapters

from ecellm.config import LoraSettings
from ecellm.model_loading import load_base
from ecellm.training.batches import collate, token_weights
from ecellm.training.loss import AnswerLoss, tensors
from ecellm.training.model import add_adapters, special_tokens

ALL = (*CAUSAL, *SEQUENCE_TO_SEQUENCE)


def batch_losses(model, rows, *, is_packed=False):
    """Return each sample's mean loss from one forward pass over all of them."""
    pad, start = special_tokens(model.config)
    module = AnswerLoss(model)
    values = []
    for place in range(len(rows)):
        weights = [1 / row.num_answer_tokens if k == place else 0.0 for k, row in enumerate(rows)]
        batch = collate(rows, weights, pad_token_id=pad, decoder_start_token_id=start, is_packed=is_packed)
        values.append(module(**tensors(batch, torch.device("cpu"))))
    return torch.stack(values)


@pytest.mark.parametrize("architecture", ALL)
def test_a_padded_batch_gives_every_sample_the_loss_it_has_alone(architecture):
    model = randomised_adapters(make(architecture))
    rows = training_rows(5, seq2seq=architecture in SEQUENCE_TO_SEQUENCE)
    alone = torch.stack([answer_losses(model, row) for row in rows])
    assert torch.allclose(batch_losses(model, rows), alone, atol=2e-5)
    assert alone.std() > 0.05, "samples differ, or nothing is shown"


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [(name, kind) for name in CAUSAL for kind in ("sdpa", "eager") if (name, kind) != ("gemma2", "sdpa")],
)
def test_a_packed_row_gives_every_sample_the_loss_it_has_alone(architecture, attention):
    model = randomised_adapters(make(architecture, attention=attention))
    rows = training_rows(5)
    alone = torch.stack([answer_losses(model, row) for row in rows])
    assert torch.allclose(batch_losses(model, rows, is_packed=True), alone, atol=2e-5)


@pytest.mark.parametrize("architecture", ALL)
def test_gradients_of_a_packed_or_padded_batch_are_the_sum_of_its_samples_own(architecture):
    rows = training_rows(4, seq2seq=architecture in SEQUENCE_TO_SEQUENCE)
    weights = token_weights(rows, "sample")

    def gradients(parts, *, is_packed=False):
        model = randomised_adapters(make(architecture))
        pad, start = special_tokens(model.config)
        module = AnswerLoss(model)
        for part in parts:
            own = collate(
                [rows[i] for i in part],
                [weights[i] for i in part],
                pad_token_id=pad,
                decoder_start_token_id=start,
                is_packed=is_packed,
            )
            module(**tensors(own, torch.device("cpu"))).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    alone = gradients([[0], [1], [2], [3]])
    others = [gradients([range(4)])]
    if architecture in CAUSAL:
        others.append(gradients([range(4)], is_packed=True))
    for other in others:
        assert set(other) == set(alone)
        scale = max(float(own.abs().max()) for own in alone.values())
        assert all(torch.allclose(other[name], own, atol=1e-5 * scale) for name, own in alone.items())


@pytest.mark.parametrize("architecture", ALL)
def test_saved_and_loaded_back(architecture, tmp_path):
    from peft import PeftModel

    base = make(architecture)
    base.save_pretrained(tmp_path / "base")
    rows = training_rows(3, seq2seq=architecture in SEQUENCE_TO_SEQUENCE)
    tuned = randomised_adapters(base)
    expected = batch_losses(tuned, rows)
    tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    again = load_base(str(tmp_path / "base"), revision=None, dtype=torch.float32).eval()
    untuned = batch_losses(again, rows)
    assert not torch.allclose(untuned, expected, atol=1e-2)
    loaded = PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
    assert torch.allclose(batch_losses(loaded, rows), expected, atol=1e-5)
    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    merged = load_base(str(tmp_path / "merged"), revision=None, dtype=torch.float32).eval()
    assert torch.allclose(batch_losses(merged, rows), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ALL)
def test_the_output_layer_is_adapted_unless_it_is_tied(architecture):
    from ecellm.training.model import head_is_tied

    model = make(architecture)
    is_tied = head_is_tied(model)
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    tuned = add_adapters(model, LoraSettings(r=2), seed=1)
    adapted = any(name.startswith(f"base_model.model.{head}.lora") for name, _ in tuned.named_parameters())
    assert adapted != is_tied
