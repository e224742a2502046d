"""Loading transformers models, causal or sequence-to-sequence as their configs say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ecellm.models import pickled, require_weights


def gpu_has_bf16() -> bool:
    """Tell whether this process has a GPU that computes in bf16."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def model_class(model_config: Any) -> Any:
    """Return transformers' class for a model: causal, or sequence-to-sequence if its config says so."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if model_config.is_encoder_decoder else AutoModelForCausalLM


def load_base(
    path: str,
    *,
    revision: str | None,
    dtype: torch.dtype | str,
    attention: str | None = None,
    trust_remote_code: bool = False,
    quantization: Any = None,
) -> Any:
    """Load a base model.

    Args:
        path: local directory or hub name.
        revision: hub revision.
        dtype: of the weights; "auto" for that of the files.
        attention: implementation, as transformers names it; None for its own choice.
        trust_remote_code: run the Python code that the model brings along.
        quantization: transformers' quantization config; None for weights as they are.

    Returns:
        A causal model, or a sequence-to-sequence one if its config says so.

    Raises:
        InputError: it has no safetensors.
    """
    from transformers import AutoConfig

    source = {"revision": revision, "trust_remote_code": trust_remote_code}
    model_config = AutoConfig.from_pretrained(path, **source)
    quantized = {} if quantization is None else {"quantization_config": quantization}
    with only_safetensors(path) as safetensors:
        return model_class(model_config).from_pretrained(
            path, dtype=dtype, attn_implementation=attention, **source, **quantized, **safetensors
        )


@contextmanager
def only_safetensors(name: str) -> Iterator[dict[str, bool]]:
    """Give the arguments with which `from_pretrained` takes no pickled weights, and explain its refusal.

    Args:
        name: local directory or hub name of the model.

    Raises:
        InputError: the model has no safetensors.
    """
    # Else transformers has a service convert a hub's pickled weights, and loads what that proposes.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    require_weights(name)
    try:
        yield {"use_safetensors": True}
    except OSError as error:
        if "file named model.safetensors" in str(error):  # only its text tells
            raise pickled(name) from None
        raise


def empty_model(model_config: Any, *, trust_remote_code: bool = False) -> Any:
    """Return a base model on the meta device: it takes no memory, whatever its size."""
    with torch.device("meta"):
        return model_class(model_config).from_config(model_config, trust_remote_code=trust_remote_code)
