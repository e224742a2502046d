"""Loading the model to tune: precision and attention chosen on the machine that trains, adapters put on.

With method=qlora the base is loaded in 4 bits (QLoRA, Dettmers et al., 2023) and the adapters are the same as LoRA's:
they are exported alike, and merged into the base model's own weights, not into the 4-bit ones.
"""

import logging
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from ecellm.config import FinetuneConfig, LoraSettings
from ecellm.errors import InputError
from ecellm.model_loading import gpu_has_bf16, load_base
from ecellm.training.deepspeed_config import spread_while_loading
from ecellm.training.lora_linear import fuse_adapters

logger = logging.getLogger(__name__)


def uses_bf16(config: FinetuneConfig) -> bool:
    """Tell whether this worker computes in bf16.

    Raises:
        ValueError: bf16 was asked for and the GPU does not have it.
    """
    has_gpu = config.use_gpu and torch.cuda.is_available()
    if config.precision == "auto":
        return has_gpu and gpu_has_bf16()
    if config.precision == "bf16" and has_gpu and not gpu_has_bf16():
        raise ValueError("precision=bf16, but the worker's GPU has no bf16: use precision=fp32")
    return config.precision == "bf16"


def attention_implementation(config: FinetuneConfig, *, bf16: bool) -> str | None:
    """Return what to ask transformers for; None lets it take sdpa where the model has it, else eager."""
    if config.attention != "auto":
        return config.attention
    from transformers.utils import is_flash_attn_2_available

    on_gpu = config.use_gpu and torch.cuda.is_available()
    return "flash_attention_2" if bf16 and on_gpu and is_flash_attn_2_available() else None


def head_is_tied(model: Any) -> bool:
    """Tell whether the output layer shares its weights with the input embeddings."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def linear_layers(model: Any) -> list[str]:
    """Return the names of the layers that are adapted by default, as peft takes them: sorted, without their paths.

    These are all linear layers and the output layer, as in the paper. An output layer that is tied to the input
    embeddings is left out: merging an adapter into it would change the embeddings too, so that no plain model could
    stand for the tuned one.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if head_is_tied(model) else None
    names = set()
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head:
            leaf = path.rsplit(".", 1)[-1]
            names.add(path if leaf.isdigit() else leaf)
    return sorted(names)


def add_adapters(model: Any, settings: LoraSettings, *, seed: int) -> Any:
    """Return `model` wrapped by peft with fresh LoRA adapters, their weights a function of `seed`.

    Raises:
        ValueError: a name in `target_modules` is no layer of the model.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    task = TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM
    lora = LoraConfig(
        task_type=task,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules or linear_layers(model)),
    )
    torch.manual_seed(seed)
    return get_peft_model(model, lora)


def four_bits(config: FinetuneConfig, *, bf16: bool) -> Any:
    """Return transformers' config of a base model in 4 bits: nf4, constants quantized too, computing in bf16.

    bitsandbytes leaves the output layer as it is, so that lm_head can be adapted like the rest.

    Raises:
        InputError: this worker cannot hold such a model.
    """
    if not torch.cuda.is_available():
        raise InputError("method=qlora needs a GPU on each worker, and this one has none: use method=lora")
    if find_spec("bitsandbytes") is None:
        raise InputError("method=qlora needs bitsandbytes on each worker: pip install 'ecellm[qlora]'")
    if not bf16:
        raise InputError("method=qlora computes in bf16: use precision=auto or bf16, on GPUs that have it")
    if config.deepspeed.stage == 3:
        raise InputError("method=qlora cannot have deepspeed.stage=3: use stage 2 (its base is whole on each GPU)")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def build_model(path: str, config: FinetuneConfig, *, bf16: bool) -> Any:
    """Load the base model and prepare it for training as `config` says; at ZeRO stage 3 a collective of all ranks.

    Raises:
        InputError: method=qlora on a worker that cannot hold a model in 4 bits.
    """
    is_spread = config.deepspeed.stage == 3
    dtype = torch.bfloat16 if bf16 else torch.float32
    quantization = four_bits(config, bf16=bf16) if config.method == "qlora" else None
    on_gpu = config.use_gpu and torch.cuda.is_available()
    with spread_while_loading(config, bf16=bf16, on_gpu=on_gpu) if is_spread else nullcontext():
        model = load_base(
            path,
            revision=config.base_model_revision,
            dtype=dtype,
            attention=attention_implementation(config, bf16=bf16),
            trust_remote_code=config.trust_remote_code,
            quantization=quantization,
        )
    if is_spread:  # DeepSpeed moves no model whose weights are spread; some buffers are made on the CPU
        device = next(model.parameters()).device
        for buffer in model.buffers():
            buffer.data = buffer.data.to(device)
    if config.method == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.uses_adapters:
        model = add_adapters(model, config.lora, seed=config.seed)
        if is_spread:  # which computes in the precision of the weights as they are; peft makes adapters in fp32
            for parameter in trainable_parameters(model).values():
                parameter.data = parameter.data.to(dtype)
        else:  # ZeRO-3 gathers a module's weights when it is called
            fuse_adapters(model)
    return model


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """Return a parameter's shape: the whole one's, where it is spread over ranks (ZeRO-3) and has no data here."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def num_parameters(model: Any) -> int:
    """Return how many numbers a model's parameters hold: in 4 bits those that are stored, spread over ranks all."""
    spread = sum(whole_shape(parameter).numel() - parameter.numel() for parameter in model.parameters())
    return int(model.num_parameters()) + spread


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def special_tokens(model_config: Any) -> tuple[int, int | None]:
    """Return the id that fills up short samples, and the first decoder token of a sequence-to-sequence model.

    Padding is never attended to and never a target, so that any id in the vocabulary will do where the model has none.
    """
    pad = model_config.pad_token_id if model_config.pad_token_id is not None else 0
    start = model_config.decoder_start_token_id if model_config.is_encoder_decoder else None
    if model_config.is_encoder_decoder and start is None:
        start = pad
    return max(pad, 0), start
