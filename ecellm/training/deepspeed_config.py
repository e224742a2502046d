"""FinetuneConfig in, DeepSpeed's dict out; with it DeepSpeed's start, and how ZeRO-3 loads a model.

No compiler is needed: DeepSpeed would build a shared-memory operation at its start on a CPU, which only its inference
uses; it is told that the operation is not to be had.

Accumulation is ours: `managed_gradient_accumulation` off makes `engine.step()` the boundary, whatever the number of
micro-batches, and the loss is already weighted for the global batch. DeepSpeed averages gradients over ranks, so the
weights carry a factor of the world size (see `loss.py`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from ecellm.config import FinetuneConfig

logger = logging.getLogger(__name__)
_MAX_BUCKET_ELEMENTS = 200_000_000
_MIN_BUCKET_ELEMENTS = 100_000


def effective_stage(stage: int, *, bf16: bool) -> int:
    """Return the ZeRO stage that is used for the one that was asked for.

    Stage 0 in bf16 would sum gradients over micro-batches in bf16 and lose digits; DeepSpeed keeps them in fp32 from
    stage 1 on, which computes the same and needs less memory.
    """
    return 1 if bf16 and stage == 0 else stage


def deepspeed_config(config: FinetuneConfig, *, bf16: bool, on_gpu: bool, num_trainable: int) -> dict[str, Any]:
    """Return the configuration for `deepspeed.initialize`.

    Args:
        config: the job's config.
        bf16: whether weights and activations are bf16 (master weights and gradient sums stay fp32).
        on_gpu: whether the workers have GPUs.
        num_trainable: trainable parameters, so that small models do not get large buffers.
    """
    stage = effective_stage(config.deepspeed.stage, bf16=bf16)
    result: dict[str, Any] = {
        # One by one: the batch is ours, and DeepSpeed divides by nothing.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        # At stage 0 in fp32 the optimizer's own hook clips: DeepSpeed keeps no gradient norm there.
        "gradient_clipping": config.optimizer.max_grad_norm if stage else 0.0,
        "zero_optimization": _zero(config, stage, on_gpu=on_gpu, num_trainable=num_trainable),
        # torch's AdamW also with offload: DeepSpeed's own CPU optimizer would need a compiler on every node.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": bf16},
        "wall_clock_breakdown": False,
    }
    if bf16:
        result["data_types"] = {"grad_accum_dtype": "fp32"}
    return result


def _zero(config: FinetuneConfig, stage: int, *, on_gpu: bool, num_trainable: int) -> dict[str, Any]:
    bucket = min(max(num_trainable, _MIN_BUCKET_ELEMENTS), _MAX_BUCKET_ELEMENTS)
    zero: dict[str, Any] = {
        "stage": stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        # DeepSpeed allows overlap with a caller's boundary at stage 2 and 3; a CPU has no stream to overlap on.
        "overlap_comm": on_gpu and stage >= 2,
        "contiguous_gradients": True,
    }
    if config.deepspeed.offload_optimizer:
        if not on_gpu:
            logger.warning("deepspeed.offload_optimizer has no effect without a GPU")
        elif stage:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return zero


def start_deepspeed(*, on_gpu: bool) -> Any:
    """Import DeepSpeed and let it use the process group that Ray Train has made; again is safe."""
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if not on_gpu:
        deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", auto_mpi_discovery=False)
    return deepspeed


@contextmanager
def spread_while_loading(config: FinetuneConfig, *, bf16: bool, on_gpu: bool) -> Iterator[None]:
    """Let transformers' `from_pretrained` spread weights over the ranks while it loads them (ZeRO-3).

    Each layer's weights are made empty and spread at once (`deepspeed.zero.Init`). Then, layer by layer, all ranks
    gather it, the first one fills it from the files, which it maps into its memory, and it is spread again: no rank
    has more than its share and one layer. Loading is a collective of all ranks. It ends with this context, because
    transformers would go on to take every model for a spread one, those of a later export too.

    Args:
        config: the job's config.
        bf16: whether the weights are bf16; else fp32.
        on_gpu: whether the shares lie on the workers' GPUs.
    """
    from transformers.integrations import HfDeepSpeedConfig

    start_deepspeed(on_gpu=on_gpu)
    # transformers finds it by a weak reference, so it has to live as long as it is to be found.
    settings = HfDeepSpeedConfig(deepspeed_config(config, bf16=bf16, on_gpu=on_gpu, num_trainable=0))
    try:
        with patch.object(torch, "equal", _equal):
            yield
    finally:
        del settings


def _equal(first: Any, second: Any, equal: Any = torch.equal) -> bool:
    """Return what `torch.equal` does, for spread weights too.

    transformers asks it whether an output layer that the config says is tied has other weights than the embeddings in
    the files, and is thus not tied (Flan-T5). A spread weight's own data are empty, so that any two would be equal.
    """
    if not (hasattr(first, "ds_tensor") and hasattr(second, "ds_tensor")):
        return bool(equal(first, second))
    if first.ds_shape != second.ds_shape:
        return False
    # A share is filled up to the size of the others' with whatever there is.
    size = first.ds_tensor.numel()
    filled = min(size, max(0, first.ds_numel - torch.distributed.get_rank() * size))
    is_same = equal(first.ds_tensor[:filled], second.ds_tensor[:filled])
    differs = torch.tensor(float(not is_same), device=first.ds_tensor.device)
    torch.distributed.all_reduce(differs)
    return not differs.item()
