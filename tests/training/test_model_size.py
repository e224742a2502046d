"""What is kept for the backward pass, counted by PyTorch itself, beside what the estimate says."""

import pytest
import torch
from architectures import CAUSAL, SEQUENCE_TO_SEQUENCE, make
from torch.autograd.graph import saved_tensors_hooks

from ecellm.config import FinetuneConfig
from ecellm.model_loading import empty_model
from ecellm.training.estimate import Lengths, estimate_memory
from ecellm.training.lora_linear import fuse_adapters
from ecellm.training.model import add_adapters, trainable_parameters
from ecellm.training.model_size import kept_by, measure

NUM_ROWS, LENGTH, ANSWER = 2, 64, 48
# What PyTorch keeps, as a multiple of the estimate. Above 1 lie masks and positions, which weigh more in tiny models;
# below it models that repeat no keys.
LOW, HIGH = 0.8, 1.3
# The estimate takes the softmax to be in fp32, which these compute in the precision of the run.
OWN_SOFTMAX = ("gpt2", *SEQUENCE_TO_SEQUENCE)
LOW_OF_OWN_SOFTMAX = 0.6


def gpt2(attention):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=160, n_positions=64, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2
    )
    return GPT2LMHeadModel._from_config(config, attn_implementation=attention)


def model_of(architecture, attention):
    if architecture == "gpt2":
        return gpt2(attention)
    model = make(architecture, attention=attention)
    model.set_attn_implementation(attention)
    return model


def with_adapters(model, settings):
    """Return a model as training makes it: with adapters in the precision of the base, the plain ones fused."""
    dtype = next(model.parameters()).dtype
    model = add_adapters(model, settings.lora, seed=1)
    for own in trainable_parameters(model).values():
        own.data = own.data.to(dtype)
    fuse_adapters(model)
    return model


def inputs(*, seq2seq):
    """A batch of which one row is padded, as most are."""
    mask = torch.ones(NUM_ROWS, LENGTH, dtype=torch.int64)
    mask[0, -5:] = 0
    result = {"input_ids": torch.randint(3, 150, mask.shape), "attention_mask": mask}
    if seq2seq:
        result["decoder_input_ids"] = torch.randint(3, 150, (NUM_ROWS, ANSWER))
    return result


def kept_bytes(model, arguments):
    """Return what a forward pass keeps: each storage once, without weights."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that nothing else gets its address
        return tensor

    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _module, read: (read[0][:, :1], *read[1:]))  # logits are counted apart
    model.train()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(**arguments, use_cache=False).logits
        assert logits.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.fixture
def masks_as_on_a_gpu(monkeypatch):
    """A GPU's dropout keeps a mask of a byte a number; a CPU's keeps a factor for each, unless asked otherwise."""

    def dropout(read, p=0.5, training=True, inplace=False):
        del inplace
        return torch.native_dropout(read, p, training)[0] if training and p else read

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)


@pytest.mark.usefixtures("masks_as_on_a_gpu")
@pytest.mark.parametrize(
    ("method", "dropout", "precision"), [("lora", 0.05, "fp32"), ("lora", 0.0, "bf16"), ("full", 0.0, "bf16")]
)
@pytest.mark.parametrize(
    ("architecture", "attention"),
    [
        (name, kind)
        for name in (*CAUSAL, "gpt2", *SEQUENCE_TO_SEQUENCE)
        for kind in ("sdpa", "eager")
        if (name, kind) != ("gemma2", "sdpa")
    ],
)
def test_activations_are_what_pytorch_keeps(architecture, attention, method, dropout, precision):
    if (architecture in SEQUENCE_TO_SEQUENCE, attention, method) == (True, "sdpa", "full"):
        pytest.skip("on a CPU, attention in one piece whose biases are trained falls back to steps")
    settings = FinetuneConfig(
        rows_dir="rows", base_model="model", output_dir="out", method=method, precision=precision,
        micro_batch_size=NUM_ROWS, attention=attention, lora={"r": 2, "dropout": dropout},
    )  # fmt: skip
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = model_of(architecture, attention).to(dtype)
    size = measure(model_of(architecture, attention), settings)
    lengths = Lengths(num_rows=100, num_tokens=100 * LENGTH, longest=LENGTH, longest_answer=ANSWER)
    estimated = estimate_memory(size, lengths, settings).activations
    if settings.uses_adapters:
        model = with_adapters(model, settings)
    kept = kept_bytes(model, inputs(seq2seq=architecture in SEQUENCE_TO_SEQUENCE))
    low = LOW_OF_OWN_SOFTMAX if (architecture in OWN_SOFTMAX, attention, precision) == (True, "eager", "bf16") else LOW
    assert low * estimated <= kept <= HIGH * estimated, f"{kept / estimated:.2f} of the estimate"


def test_a_layer_of_gpt_keeps_the_published_34_bytes_a_number():
    """Korthikanti et al., arXiv:2205.05198, section 4.1, without attention's matrices."""
    from transformers import GPT2Config

    settings = FinetuneConfig(rows_dir="rows", base_model="model", output_dir="out", method="full")
    config = GPT2Config(n_embd=64, n_layer=3, n_head=4, activation_function="gelu", attn_pdrop=0.0)
    (block,) = measure(empty_model(config), settings).blocks
    assert [layer.num_bytes(2) for layer in block.layers] == [34 * 64] * 3


@pytest.mark.parametrize(
    ("name", "alone", "before_a_weight"), [("gelu", 0, 1), ("silu", 0, 1), ("gelu_new", 3, 4), ("relu", 0, 0)]
)
def test_what_an_activation_keeps_beside_its_input(name, alone, before_a_weight):
    from transformers.activations import ACT2FN

    assert kept_by(ACT2FN[name], is_output_kept=False) == alone
    assert kept_by(ACT2FN[name], is_output_kept=True) == before_a_weight
