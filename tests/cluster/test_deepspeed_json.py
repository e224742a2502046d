"""The DeepSpeed files under cluster/ are what the suite itself would run with."""

import json

import pytest

from ecellm.config import FinetuneConfig
from ecellm.training.deepspeed_config import deepspeed_config
from tests.conftest import ROOT

DIRECTORY = ROOT / "cluster" / "deepspeed"
SETTINGS = {
    "zero1": {"stage": 1},
    "zero2": {"stage": 2},
    "zero3": {"stage": 3},
    "zero1_offload": {"stage": 1, "offload_optimizer": True},
    "zero2_offload": {"stage": 2, "offload_optimizer": True},
    "zero3_offload": {"stage": 3, "offload_optimizer": True},
}


def as_the_suite_makes_it(settings):
    """On GPUs, in bf16, for a model of any size (small ones get smaller buckets)."""
    config = FinetuneConfig(rows_dir="rows", base_model="model", output_dir="out", use_gpu=True, deepspeed=settings)
    return deepspeed_config(config, bf16=True, on_gpu=True, num_trainable=10**12)


def test_there_is_a_file_for_each_way():
    assert {path.stem for path in DIRECTORY.iterdir()} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_file_is_what_the_suite_makes(name):
    wanted = as_the_suite_makes_it(SETTINGS[name])
    path = DIRECTORY / f"{name}.json"
    assert json.loads(path.read_text()) == wanted, f"{path} should be:\n{json.dumps(wanted, indent=2)}"


@pytest.mark.parametrize("name", SETTINGS)
def test_deepspeed_reads_a_file(name, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime.config import DeepSpeedConfig

    parsed = DeepSpeedConfig(str(DIRECTORY / f"{name}.json"))
    assert parsed.zero_optimization_stage == SETTINGS[name]["stage"]
    offloads = parsed.zero_config.offload_optimizer
    assert (offloads is not None) == name.endswith("offload")
