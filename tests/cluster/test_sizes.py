"""The table of sizes in cluster/README.md is what the suite's own estimate gives."""

import re
from dataclasses import replace

import pytest
from transformers import LlamaConfig, MistralConfig, PhiConfig

from ecellm.model_loading import empty_model
from ecellm.pipeline import resolve
from ecellm.stages import load_stage
from ecellm.training.estimate import GIB, Lengths, estimate_memory
from ecellm.training.model_size import measure
from tests.conftest import CLUSTER
from tests.job_commands import check

README = (CLUSTER / "README.md").read_text(encoding="utf-8")
# What each model's own config.json says, as far as it matters for its size.
MODELS = {
    "ecellm_s": lambda: PhiConfig(
        vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32, num_attention_heads=32,
        partial_rotary_factor=0.4, resid_pdrop=0.1, max_position_embeddings=2048, tie_word_embeddings=False,
    ),
    "ecellm_m": lambda: MistralConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=32768, sliding_window=None,
    ),
    "ecellm_l": lambda: LlamaConfig(
        vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
        max_position_embeddings=4096,
    ),
}  # fmt: skip
# The most that rows of this length can take: each of their tokens is one of the answer.
ROWS = Lengths(num_rows=1, num_tokens=2048, longest=2048, longest_answer=2048)


def tuning(recipe, *overrides):
    words = [f"stages.tuned.config.{override}" for override in overrides]
    config = check("pipeline", [f"jobs/recipes/{recipe}.yaml", "defaults.release=dataset.json", *words])
    (node,) = (node for node in resolve(config, load_stage) if node.name == "tuned")
    return node.config


def estimated(recipe, *overrides):
    config = tuning(recipe, *overrides)
    model = MODELS[recipe]()
    model._attn_implementation = "sdpa"
    size = measure(empty_model(model), config)
    return config, size, estimate_memory(size, ROWS, config)


def row(label):
    """The cells of a row, by recipe."""
    (line,) = re.findall(rf"^\| {re.escape(label)} \|(.*)\|$", README, re.MULTILINE)
    return dict(zip(MODELS, (cell.strip() for cell in line.split("|")), strict=True))


@pytest.mark.parametrize("recipe", MODELS)
def test_the_table_is_the_estimate(recipe):
    config, size, memory = estimated(recipe)
    assert row("recipe")[recipe] == f"`jobs/recipes/{recipe}.yaml`"
    assert row("parameters, of them trained")[recipe] == (
        f"{size.num_parameters / 1e9:.1f} billion, {size.num_trainable / 1e6:.0f} million"
    )
    assert row("GPUs, ZeRO stage")[recipe] == f"{config.num_workers}, stage {config.deepspeed.stage}"
    for label, overrides in {
        "GPU memory of a worker": (),
        "the same with `deepspeed.stage=3`": ("deepspeed.stage=3",),
        "the same with `micro_batch_tokens=2048`": ("micro_batch_tokens=2048",),
        "all weights, `method=full deepspeed.stage=3`": ("method=full", "deepspeed.stage=3"),
    }.items():
        total = estimated(recipe, *overrides)[2].total
        assert row(label)[recipe] == f"{total / GIB:.1f} GiB", label
    base = 2 * (size.num_parameters - size.num_trainable)  # adapters are on no disk yet; bf16
    assert row("weights on the disk")[recipe] == f"{base / GIB:.0f} GiB"
    # Up to stage 2 each worker reads the whole model into the host's memory before it goes to the GPU.
    assert row("host memory while they are loaded")[recipe] == f"{config.num_workers * base / GIB:.0f} GiB"
    assert memory.offloaded == 0


def test_the_estimate_is_for_the_longest_rows_that_there_can_be():
    recipe = "ecellm_m"
    config, size, memory = estimated(recipe)
    shorter = estimate_memory(size, replace(ROWS, longest=1024, longest_answer=64), config)
    assert shorter.total < memory.total
