import numpy as np
import pytest
import torch
from test_batches import training_rows
from torch.nn.functional import cross_entropy

from ecellm.config import LoraSettings
from ecellm.model_loading import load_base
from ecellm.training import loss
from ecellm.training.batches import collate, token_weights
from ecellm.training.loss import AnswerLoss, tensors
from ecellm.training.model import add_adapters, special_tokens


def load(path):
    return load_base(str(path), revision=None, dtype=torch.float32).eval()


def randomised_adapters(model):
    """Fresh adapters change nothing: give them weights that do, lm_head's too."""
    model = add_adapters(model, LoraSettings(r=4, dropout=0.0), seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def answer_losses(model, row):
    """Mean loss of one sample the plain way: logits everywhere, one sample at a time."""
    if row.labels is not None:
        labels = torch.from_numpy(row.labels.astype(np.int64))[None]
        return model(input_ids=torch.from_numpy(row.input_ids.astype(np.int64))[None], labels=labels).loss
    input_ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
    logits = model(input_ids=input_ids).logits[0]
    return cross_entropy(logits[row.num_prompt_tokens - 1 : -1], input_ids[0, row.num_prompt_tokens :])


@pytest.mark.parametrize("kind", ["llama", "tied_llama", "t5"])
@pytest.mark.parametrize("adapters", [False, True])
def test_a_padded_batch_is_the_sum_of_its_samples(kind, adapters, request):
    model = load(request.getfixturevalue(kind))
    model = randomised_adapters(model) if adapters else model
    rows = training_rows(6, seq2seq=kind == "t5")
    pad, start = special_tokens(model.config)
    expected = torch.stack([answer_losses(model, row) for row in rows])
    # The hook comes after the plain passes; outside AnswerLoss.forward it must change nothing either.
    module = AnswerLoss(model)
    assert answer_losses(model, rows[0]) == expected[0]
    for normalization in ("sample", "token"):
        batch = collate(rows, token_weights(rows, normalization), pad_token_id=pad, decoder_start_token_id=start)
        value = module(**tensors(batch, torch.device("cpu")))
        if normalization == "sample":
            reference = expected.mean()
        else:
            counts = torch.tensor([row.num_answer_tokens for row in rows])
            reference = (expected * counts).sum() / counts.sum()
        assert value.item() == pytest.approx(reference.item(), abs=1e-5)


def test_adapters_on_the_output_layer_take_part(llama):
    model = randomised_adapters(load(llama))
    module = AnswerLoss(model)
    rows = training_rows(3)
    batch = collate(rows, token_weights(rows, "sample"), pad_token_id=0, decoder_start_token_id=None)
    module(**tensors(batch, torch.device("cpu"))).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if "lm_head" in name and p.requires_grad}
    assert len(gradients) == 2
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


def test_logits_are_computed_only_where_the_answer_is(llama):
    model = load(llama)
    module = AnswerLoss(model)
    seen = []
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    rows = training_rows(4)
    batch = collate(rows, token_weights(rows, "sample"), pad_token_id=0, decoder_start_token_id=None)
    module(**tensors(batch, torch.device("cpu")))
    assert seen == [(1, sum(row.num_answer_tokens for row in rows), model.config.vocab_size)]


def test_gradients_of_micro_batches_add_up(llama):
    rows = training_rows(6)
    weights = token_weights(rows, "sample")

    def gradient(parts):
        model = load(llama)
        module = AnswerLoss(model)
        for part in parts:
            batch = collate(
                [rows[i] for i in part], [weights[i] for i in part], pad_token_id=0, decoder_start_token_id=None
            )
            module(**tensors(batch, torch.device("cpu"))).backward()
        return model.model.layers[0].mlp.up_proj.weight.grad

    assert torch.allclose(gradient([range(6)]), gradient([[0, 5], [1], [2, 3, 4]]), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_chunked_loss_and_its_gradient_are_pytorch_s(dtype, monkeypatch):
    monkeypatch.setattr(loss, "_CHUNK_ELEMENTS", 3 * 50)  # three rows at a time
    generator = torch.Generator().manual_seed(1)
    logits = (4 * torch.randn(11, 50, generator=generator)).to(dtype).requires_grad_()
    targets = torch.randint(50, (11,), generator=generator)
    weights = torch.rand(11, generator=generator)
    ours = loss.weighted_cross_entropy(logits, targets, weights)
    (gradient,) = torch.autograd.grad(3 * ours, logits)
    other = logits.detach().float().requires_grad_()
    expected = (cross_entropy(other, targets, reduction="none") * weights).sum()
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    (reference,) = torch.autograd.grad(3 * expected, other)
    assert gradient.dtype == dtype
    assert torch.allclose(gradient.float(), reference, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-6)
