import pytest

from ecellm.config import FinetuneConfig
from ecellm.training.deepspeed_config import deepspeed_config, effective_stage


def settings(stage, *, bf16=False, on_gpu=False, num_trainable=1_000_000, **deepspeed):
    config = FinetuneConfig(rows_dir="rows", base_model="m", output_dir="out", deepspeed={"stage": stage, **deepspeed})
    return deepspeed_config(config, bf16=bf16, on_gpu=on_gpu, num_trainable=num_trainable)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("bf16", [False, True])
def test_deepspeed_accepts_every_stage(stage, bf16, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime.config import DeepSpeedConfig

    parsed = DeepSpeedConfig(settings(stage, bf16=bf16))
    assert parsed.zero_optimization_stage == effective_stage(stage, bf16=bf16)
    assert parsed.gradient_accumulation_steps == 1
    assert not parsed.managed_gradient_accumulation
    assert parsed.bfloat16_config.enabled == bf16


def test_gradients_are_summed_in_fp32_in_bf16_too():
    assert settings(2, bf16=True)["data_types"] == {"grad_accum_dtype": "fp32"}
    assert settings(0, bf16=True)["zero_optimization"]["stage"] == 1


def test_every_stage_clips_once():
    assert settings(0)["gradient_clipping"] == 0.0  # by the engine's hook
    assert all(settings(stage)["gradient_clipping"] == 1.0 for stage in (1, 2, 3))


def test_small_models_get_small_buffers():
    assert settings(2, num_trainable=5_000)["zero_optimization"]["reduce_bucket_size"] == 100_000
    assert settings(2, num_trainable=10**10)["zero_optimization"]["reduce_bucket_size"] == 200_000_000


def test_offload_is_for_gpus(caplog):
    assert "offload_optimizer" in settings(2, on_gpu=True, offload_optimizer=True)["zero_optimization"]
    assert "offload_optimizer" not in settings(2, offload_optimizer=True)["zero_optimization"]
    assert "no effect without a GPU" in caplog.text
