"""Encoders of transformers as task-specific models use them: loaded with a head, padded, saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ecellm.config import BaselineConfig
from ecellm.model_loading import only_safetensors
from ecellm.models import explained, local_model, locate
from ecellm.storage import Storage


def local_base(config: BaselineConfig, storage: Storage) -> str:
    """Return the base model's directory on this node, or its name on the hub."""
    assert config.encoder is not None, "the config has seen to it"
    return local_model(locate(config.encoder), config.encoder_revision, storage)


def load_tokenizer(config: BaselineConfig, path: str) -> Any:
    """Return the tokenizer in a directory.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with explained(path, f"the tokenizer of {config.encoder} cannot be loaded"):
        return AutoTokenizer.from_pretrained(path, revision=config.encoder_revision)


def load_with_head(model_class: Any, config: BaselineConfig, path: str, **settings: Any) -> torch.nn.Module:
    """Return a model in fp32; the head is new, drawn at random, if the directory has none.

    Args:
        model_class: one of transformers' AutoModelFor classes.
        config: the job's config.
        path: directory or hub name.
        settings: of the head.

    Raises:
        InputError: it cannot be loaded, or has no safetensors.
    """
    with explained(path, f"model {path} cannot be loaded"), only_safetensors(path) as safetensors:
        model: torch.nn.Module = model_class.from_pretrained(
            path, revision=config.encoder_revision, dtype=torch.float32, **settings, **safetensors
        )
    return model


def pad(tokenizer: Any, encodings: Sequence[dict[str, list[int]]], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return encodings as one batch on the model's device: int64 [batch, longest] by name."""
    columns = {name: [own[name] for own in encodings] for name in encodings[0]}
    device = next(model.parameters()).device
    return {name: values.to(device) for name, values in tokenizer.pad(columns, return_tensors="pt").items()}


def save_pretrained(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write model and tokenizer in transformers' format."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
