"""The size of a model, counted without its weights: on torch's meta device a model has shapes and no numbers.

In: a model, with its adapters. Out: its parameters, and what its layers keep for the backward pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecellm.config import FinetuneConfig
from ecellm.training.model import add_adapters, model_class

# The masks of two dropouts are the other 2 bytes of 34 in Korthikanti et al.; see `_layer`.
_WITH_MASKS = 34 / 32


@dataclass(frozen=True)
class Layer:
    """What one layer keeps of a position for the backward pass.

    Attributes:
        kept: numbers in the precision of the run.
        kept_in_fp32: numbers in fp32, whatever that is.
    """

    kept: int
    kept_in_fp32: int

    def num_bytes(self, element: int) -> float:
        """Return the bytes of a position, `element` being those of one number."""
        return _WITH_MASKS * self.kept * element + 4 * self.kept_in_fp32


@dataclass(frozen=True)
class Block:
    """Layers that compute the same positions: those of a causal model, of an encoder, or of a decoder.

    Attributes:
        hidden_size: numbers of a position between two layers.
        layers: the layers, each of which checkpointing can recompute by itself.
    """

    hidden_size: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ModelSize:
    """What the estimate needs to know of a model.

    Attributes:
        num_trainable: parameters that are trained; tied ones count once.
        num_frozen: the others.
        num_frozen_linear: those of them in linear layers other than the output layer: what QLoRA keeps in 4 bits.
        vocab_size: logits of a position.
        num_heads: attention heads; 0 where attention keeps no matrix of positions by positions.
        blocks: one of a causal model; encoder and decoder of a sequence-to-sequence model.
    """

    num_trainable: int
    num_frozen: int
    num_frozen_linear: int
    vocab_size: int
    num_heads: int
    blocks: tuple[Block, ...]

    @property
    def num_parameters(self) -> int:
        """All parameters."""
        return self.num_trainable + self.num_frozen


def empty_model(model_config: Any, config: FinetuneConfig) -> Any:
    """Return a base model on the meta device: it takes no memory, whatever its size."""
    with torch.device("meta"):
        return model_class(model_config).from_config(model_config, trust_remote_code=config.trust_remote_code)


def measure(base: Any, config: FinetuneConfig) -> ModelSize:
    """Return the size of a base model as it will be trained; adapters are put on it.

    Args:
        base: the model of `empty_model`.
        config: the job's config.
    """
    model = base
    if config.uses_adapters:
        with torch.device("meta"):
            model = add_adapters(base, config.lora, seed=config.seed)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    attention = config.attention if config.attention != "auto" else base.config._attn_implementation  # noqa: SLF001
    text = base.config.get_text_config()
    parts = [base.get_encoder(), base.get_decoder()] if base.config.is_encoder_decoder else [base]
    return ModelSize(
        num_trainable=trained,
        num_frozen=sum(parameter.numel() for parameter in model.parameters()) - trained,
        num_frozen_linear=_num_frozen_linear(base),
        vocab_size=text.vocab_size,
        num_heads=text.num_attention_heads if attention == "eager" else 0,
        blocks=tuple(_block(part, text.hidden_size) for part in parts),
    )


def _linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _num_frozen_linear(base: Any) -> int:
    head = {id(parameter) for parameter in base.get_output_embeddings().parameters()}
    weights = {id(module.weight): module.weight for module in base.modules() if _linear(module)}
    return sum(weight.numel() for key, weight in weights.items() if key not in head and not weight.requires_grad)


def _block(part: Any, hidden_size: int) -> Block:
    from transformers.modeling_layers import GradientCheckpointingLayer

    # A model without them is one layer: checkpointing cannot help it.
    layers = [module for module in part.modules() if isinstance(module, GradientCheckpointingLayer)] or [part]
    return Block(hidden_size, tuple(map(_layer, layers)))


def _layer(layer: nn.Module) -> Layer:
    """Return what a layer keeps.

    A linear layer's output is kept by what follows, its input by itself if its weights are trained. For GPT this gives
    the 32 bytes of `hidden_size` that Korthikanti et al. (arXiv:2205.05198, section 4.1) count in 16 bits besides the
    masks: queries, keys and values 4 numbers, output 2, the two of the MLP 5 each. Counted layer by layer it holds for
    gated MLPs, grouped queries and adapters too. RMS norms compute in fp32, and keep their input and its quotient.
    """
    kept, kept_in_fp32 = 0, 0
    for module in layer.modules():
        weight: Any = getattr(module, "weight", None)
        if _linear(module):
            size_in, size_out = weight.shape[::-1] if isinstance(module, nn.Linear) else weight.shape
            kept += size_out + (size_in if weight.requires_grad else 0)
        elif isinstance(weight, nn.Parameter) and weight.ndim == 1 and not isinstance(module, nn.LayerNorm):
            kept_in_fp32 += 2 * weight.numel()
    return Layer(kept, kept_in_fp32)
