"""What a run will take: parameters as the real model has them, bytes as counted by hand, and what is refused."""

import re

import pytest
from conftest import make_llama

from ecellm.command_line import main
from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.model_loading import empty_model, load_base
from ecellm.stages import load_stage
from ecellm.training.estimate import GIB, Facts, Lengths, describe, estimate_memory, refuse_if_too_large
from ecellm.training.model import add_adapters
from ecellm.training.model_size import measure

LENGTHS = Lengths(num_rows=1000, num_tokens=200_000, longest=512, longest_answer=20)


def config(**changes):
    return FinetuneConfig(rows_dir="rows", base_model="model", output_dir="out", **changes)


def llama_size(settings, **changes):
    """Return the size of a Llama of some shape; by default that of Llama-2-7B."""
    from transformers import LlamaConfig

    shape = {
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    }  # fmt: skip
    return measure(empty_model(LlamaConfig(**{**shape, **changes})), settings)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_the_real_model(tmp_path, method, tied):
    import torch

    settings = config(method=method)
    model = load_base(str(make_llama(tmp_path, tied=tied)), revision=None, dtype=torch.float32)
    size = measure(empty_model(model.config), settings)
    if method == "lora":
        model = add_adapters(model, settings.lora, seed=1)
    assert size.num_parameters == sum(own.numel() for own in model.parameters())
    assert size.num_trainable == sum(own.numel() for own in model.parameters() if own.requires_grad)


def test_states_of_llama_2_7b_are_the_published_16_bytes_a_parameter_at_bf16():
    """ZeRO paper, section 3.1: 2 + 2 + 12 bytes a parameter; gradients are summed in fp32 here: 2 more, or 4 at stage 1."""
    settings = config(method="full", precision="bf16", use_gpu=True, deepspeed={"stage": 2})
    size = llama_size(settings)
    assert size.num_parameters == 6_738_415_616
    memory = estimate_memory(size, LENGTHS, settings)
    assert memory.weights == 2 * size.num_parameters
    assert memory.gradients == 4 * size.num_parameters
    assert memory.optimizer == 12 * size.num_parameters


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(1, 2.0, 6.0, 3.0), (2, 2.0, 1.0, 3.0)],
)
def test_four_workers_share_what_the_stage_says(stage, weights, gradients, optimizer):
    settings = config(method="full", precision="bf16", use_gpu=True, num_workers=4, deepspeed={"stage": stage})
    size = llama_size(settings)
    memory = estimate_memory(size, LENGTHS, settings)
    per_parameter = [own / size.num_parameters for own in (memory.weights, memory.gradients, memory.optimizer)]
    assert per_parameter == pytest.approx([weights, gradients, optimizer])


def test_at_stage_3_a_worker_has_its_share_and_what_is_gathered_at_a_time():
    """A model that is four times the memory of a GPU fits eight of them: it is spread while it is loaded."""
    settings = config(
        precision="bf16", use_gpu=True, num_workers=8, deepspeed={"stage": 3}, gradient_checkpointing=True
    )
    size = llama_size(settings, hidden_size=8192, intermediate_size=28_672, num_hidden_layers=80)
    memory = estimate_memory(size, LENGTHS, settings)
    whole = 2 * size.num_parameters
    assert memory.weights == pytest.approx(whole / 8 + 2e9, rel=1e-6)
    assert whole > 4 * 32 * GIB
    refuse_if_too_large(Facts(size, LENGTHS, 64 * GIB), settings, 32.0)


def test_every_stage_and_every_worker_more_needs_less():
    def total(**changes):
        settings = config(method="full", precision="bf16", use_gpu=True, **changes)
        return estimate_memory(llama_size(settings), LENGTHS, settings).total

    stages = [total(num_workers=8, deepspeed={"stage": stage}) for stage in (0, 1, 2, 3)]
    assert stages == sorted(stages, reverse=True)
    workers = [total(num_workers=number, deepspeed={"stage": 3}) for number in (2, 4, 8, 64)]
    assert workers == sorted(workers, reverse=True)


def test_checkpointing_and_smaller_passes_lower_the_activations_and_qlora_the_weights():
    def memory(**changes):
        settings = config(precision="bf16", use_gpu=True, **changes)
        return estimate_memory(llama_size(settings), LENGTHS, settings)

    plain = memory(micro_batch_size=8)
    assert memory(micro_batch_size=8, gradient_checkpointing=True).activations < 0.2 * plain.activations
    assert memory(micro_batch_size=4).activations == pytest.approx(plain.activations / 2)
    assert memory(micro_batch_size=8, micro_batch_tokens=1024).activations == pytest.approx(plain.activations / 4)
    assert memory(method="qlora").weights < 0.35 * plain.weights
    assert plain.optimizer < 0.05 * GIB * 12, "adapters are small"


def test_logits_are_those_of_the_answers():
    settings = config(micro_batch_size=4, precision="fp32")
    memory = estimate_memory(llama_size(settings), LENGTHS, settings)
    assert memory.logits == 2 * 4 * 20 * 32_000 * 4


def test_what_does_not_fit_is_refused_with_what_helps():
    settings = config(method="full", precision="bf16", use_gpu=True, num_workers=8, deepspeed={"stage": 1})
    facts = Facts(llama_size(settings), LENGTHS, 64 * GIB)
    with pytest.raises(
        InputError, match=r"each worker would need about \d+\.\d GiB, but its GPU has 24\.0 GiB"
    ) as error:
        refuse_if_too_large(facts, settings, 24.0)
    message = str(error.value)
    assert "most of it is gradients" in message
    for change in ("deepspeed.stage=3", "deepspeed.offload_optimizer=true", "num_workers=16", "method=lora"):
        assert change in message
    # What is said to be left after a change is what the estimate gives for it.
    told = float(re.search(r"deepspeed\.stage=3 \(([\d.]+) GiB\)", message)[1])
    other = settings.model_copy(update={"deepspeed": settings.deepspeed.model_copy(update={"stage": 3})})
    assert told == pytest.approx(estimate_memory(facts.size, LENGTHS, other).total / GIB, abs=0.06)
    refuse_if_too_large(facts, settings, 200.0)
    refuse_if_too_large(facts, settings, None)
    refuse_if_too_large(facts, config(method="full"), 1.0)  # without a GPU nothing is refused


def test_the_lines_say_what_is_trained_how_long_and_on_what():
    settings = config(num_epochs=2, global_batch_size=100, precision="fp32")
    facts = Facts(llama_size(settings, num_hidden_layers=2), LENGTHS, 64 * GIB)
    lines = describe(facts, settings, None)
    assert lines[0].startswith("parameters: ")
    assert "trained of" in lines[0]
    assert lines[1] == "steps: 20, 10 an epoch; tokens: 400,000, 200,000 an epoch; longest row: 512"
    assert "fp32, ZeRO stage 2, num_workers=1" in lines[2]
    assert lines[-1] == "memory of a node: 64.0 GiB, for all workers on it"


@pytest.mark.usefixtures("local_ray")
def test_a_dry_run_tells_the_figures_and_trains_nothing(rows_dir, llama, tmp_path, caplog):
    out = tmp_path / "out"
    arguments = [
        f"rows_dir={rows_dir}",
        f"base_model={llama}",
        f"output_dir={out}",
        "global_batch_size=16",
        "--dry-run",
    ]
    with caplog.at_level("INFO", logger="ecellm"):
        assert main(load_stage("finetune"), arguments) == 0
    text = caplog.text
    for part in ("parameters: 19,456 trained of ", "steps: 12, 4 an epoch", "memory of each worker, estimated: "):
        assert part in text, text
    assert not out.exists()
