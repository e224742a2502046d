"""What a run will take, before anything is paid for: parameters, steps, tokens, and the memory of one worker.

In: the size of a model, the lengths of the training rows, the config. Out: lines to show, and a refusal of what cannot
fit on a GPU.

The memory is an estimate that was never compared with a GPU's own figures. On a CPU, what PyTorch keeps for the
backward pass was 0.8 to 1.3 of it for tiny models of 15 architectures (tests/training/test_model_size.py), and 0.6 with
attention=eager in bf16 for GPT-2 and T5, whose softmax is not in fp32. It leaves out what the allocator loses to
fragmentation, what experts in one fused tensor and a decoder's keys of its encoder keep, and what a model does outside
its linear layers, norms and activations.

Bytes of a trained parameter, as DeepSpeed lays them out for our config:

                 weight   gradient                           optimizer state (AdamW)
    fp32         4        4                                  8 (two moments), from stage 1 on 12 (and a copy)
    bf16         2        4 (fp32 sum), at stage 1 another 2 12 (fp32 copy, two moments)

ZeRO divides the optimizer state by the workers at stage 1, the gradients too at stage 2, the weights too at stage 3
(Rajbhandari et al., arXiv:1910.02054, section 5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.training.deepspeed_config import deepspeed_config, effective_stage
from ecellm.training.model_size import ModelSize
from ecellm.training.schedule import plan_steps

GIB = 1 << 30
# nf4 with its constants quantized too: 4 bits, 8 more for each 64 numbers, 32 for each 64 * 256 (arXiv:2305.14314).
_BYTES_IN_4_BITS = 0.5 + 1 / 64 + 4 / (64 * 256)
# DeepSpeed's stage3_max_live_parameters and stage3_max_reuse_distance: so many stay gathered at stage 3.
_MOST_GATHERED = 1_000_000_000
# CUDA's context, NCCL's buffers and the libraries' kernels.
_CONTEXT_BYTES = 1 * GIB


@dataclass(frozen=True)
class Lengths:
    """Tokens of the training rows.

    Attributes:
        num_rows: how many rows there are.
        num_tokens: tokens of all rows.
        longest: tokens of the longest row.
        longest_answer: tokens of the longest answer.
    """

    num_rows: int = 0
    num_tokens: int = 0
    longest: int = 0
    longest_answer: int = 0

    def __add__(self, other: "Lengths") -> "Lengths":
        """Return the lengths of both."""
        return Lengths(
            self.num_rows + other.num_rows,
            self.num_tokens + other.num_tokens,
            max(self.longest, other.longest),
            max(self.longest_answer, other.longest_answer),
        )


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker at the peak of a step, by what they hold.

    Attributes:
        weights: the model; at stage 3 its share of it, and what is gathered at a time.
        gradients: of the trained parameters.
        optimizer: its state, unless that is offloaded.
        activations: what the largest forward pass keeps for its backward pass.
        logits: scores at the answers' positions, and their gradient.
        framework: CUDA's context and DeepSpeed's buffers.
        offloaded: in the host's memory instead; not in `total`.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    framework: int
    offloaded: int = 0

    def parts(self) -> dict[str, int]:
        """Return the parts by the names that users read."""
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer state": self.optimizer,
            "activations": self.activations,
            "logits": self.logits,
            "CUDA and buffers": self.framework,
        }

    @property
    def total(self) -> int:
        """All that lies in the worker's own memory."""
        return sum(self.parts().values())


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it starts.

    Attributes:
        size: its model.
        lengths: its training rows.
        node_bytes: memory of the node that looked at them.
    """

    size: ModelSize
    lengths: Lengths
    node_bytes: int


def uses_bf16_there(config: FinetuneConfig) -> bool:
    """Tell whether the workers will compute in bf16, taking it that their GPUs can."""
    return config.precision == "bf16" or (config.precision == "auto" and config.use_gpu)


def estimate_memory(size: ModelSize, lengths: Lengths, config: FinetuneConfig) -> Memory:
    """Return the estimated memory of one worker; see this module's head."""
    bf16, workers = uses_bf16_there(config), config.min_workers or config.num_workers
    stage = effective_stage(config.deepspeed.stage, bf16=bf16)
    element = 2 if bf16 else 4
    gradients = size.num_trainable * (6 if bf16 and stage == 1 else 4)
    optimizer = _share(size.num_trainable * (12 if stage else 8), workers if stage else 1)
    offloads = config.deepspeed.offload_optimizer and config.use_gpu and stage > 0
    samples = min(config.micro_batch_size, -(-config.global_batch_size // workers))
    answers = min(samples * lengths.longest_answer, _positions(lengths.longest, samples, config))
    return Memory(
        weights=_weights(size, element, stage, workers, is_quantized=config.method == "qlora"),
        gradients=_share(gradients, workers if stage >= 2 else 1),
        optimizer=0 if offloads else optimizer,
        activations=_activations(size, lengths, samples, config, element),
        logits=2 * answers * size.vocab_size * element,
        framework=_CONTEXT_BYTES + _buffers(size, config, element, bf16=bf16),
        offloaded=optimizer if offloads else 0,
    )


def _share(num_bytes: float, workers: int) -> int:
    return int(-(-num_bytes // workers))


def _weights(size: ModelSize, element: int, stage: int, workers: int, *, is_quantized: bool) -> int:
    """Return the bytes of the weights; at stage 3 those of a share, and of the parameters gathered at a time."""
    in_4_bits = size.num_frozen_linear if is_quantized else 0
    whole = (size.num_parameters - in_4_bits) * element + in_4_bits * _BYTES_IN_4_BITS
    if stage < 3 or workers == 1:
        return int(whole)
    # Loading takes no more: it spreads each layer's weights before it makes the next one's.
    return _share(whole, workers) + min(size.num_parameters, _MOST_GATHERED) * element


def _buffers(size: ModelSize, config: FinetuneConfig, element: int, *, bf16: bool) -> int:
    """Return the bytes in which DeepSpeed collects gradients to send; one is filled while another is sent."""
    settings = deepspeed_config(
        config.model_copy(update={"deepspeed": config.deepspeed.model_copy(update={"offload_optimizer": False})}),
        bf16=bf16,
        on_gpu=config.use_gpu,
        num_trainable=size.num_trainable,
    )["zero_optimization"]
    return int(settings["reduce_bucket_size"]) * element * (2 if settings["overlap_comm"] else 1)


def _positions(longest: int, samples: int, config: FinetuneConfig) -> int:
    """Return the positions of the largest forward pass; a sample above the limit is alone."""
    if config.micro_batch_tokens is None:
        return samples * longest
    return max(min(samples * longest, config.micro_batch_tokens), longest)


def _activations(size: ModelSize, lengths: Lengths, samples: int, config: FinetuneConfig, element: int) -> int:
    """Return the bytes that layers keep: all of it, or with checkpointing their inputs and the largest layer's."""
    # Positions of a sample, and those that each of them attends to.
    longest = [(lengths.longest, lengths.longest)]
    if len(size.blocks) > 1:  # an encoder reads prompts; its decoder answers, and what the encoder made of the prompts
        longest.append((lengths.longest_answer, lengths.longest_answer + lengths.longest))
    result = 0.0
    for block, (length, attended) in zip(size.blocks, longest, strict=True):
        positions = _positions(length, samples, config)
        kept = [layer.num_bytes(element) for layer in block.layers]
        scores = size.num_heads * _score_bytes(size, element) * (positions if config.packing else attended)
        kept = [layer + scores for layer in kept]
        whole = sum(kept)
        if config.gradient_checkpointing:
            whole = min(len(kept) * block.hidden_size * element + max(kept), whole)
        result += positions * whole
    return int(result)


def _score_bytes(size: ModelSize, element: int) -> int:
    """Return the bytes that attention keeps of a head, a position, and one that it attends to.

    In one piece it keeps nothing of them but the biases that are added, if any. Step by step it keeps the softmax,
    which is computed in fp32, in bf16 a copy too; with dropout a mask and what it leaves (Korthikanti et al.,
    arXiv:2205.05198, section 4.1, where the softmax is in 16 bits).
    """
    if not size.keeps_scores:
        return element if size.has_position_bias else 0
    softmax = 4 + (element if element < 4 else 0)
    return softmax + (1 + element if size.has_attention_dropout else 0) + (element if size.caps_scores else 0)


def describe(facts: Facts, config: FinetuneConfig, gpu_gib: float | None) -> tuple[str, ...]:
    """Return the figures as lines to show.

    Args:
        facts: model and rows.
        config: the job's config.
        gpu_gib: memory of a worker's GPU; None if it is not known.
    """
    size, lengths = facts.size, facts.lengths
    plan = plan_steps(config, lengths.num_rows)
    tokens = round(lengths.num_tokens * plan.num_steps / plan.steps_per_epoch)
    share = 100 * size.num_trainable / size.num_parameters
    steps = f"steps: {plan.num_steps:,}, {plan.steps_per_epoch:,} an epoch"
    in_all = f"tokens: {tokens:,}, {lengths.num_tokens:,} an epoch; longest row: {lengths.longest:,}"
    return (
        f"parameters: {size.num_trainable:,} trained of {size.num_parameters:,} ({share:.2f} %)",
        f"{steps}; {in_all}",
        *_memory_lines(estimate_memory(size, lengths, config), config),
        _there_is(facts, config, gpu_gib),
    )


def _memory_lines(memory: Memory, config: FinetuneConfig) -> Iterator[str]:
    precision = "bf16" if uses_bf16_there(config) else "fp32"
    stage = effective_stage(config.deepspeed.stage, bf16=precision == "bf16")
    yield (
        f"memory of each worker, estimated: {_gib(memory.total)} ({_parts(memory)}); "
        f"{precision}, ZeRO stage {stage}, num_workers={config.num_workers}"
    )
    if memory.offloaded:
        yield f"in the host's memory for each worker: {_gib(memory.offloaded)} of optimizer state"


def _there_is(facts: Facts, config: FinetuneConfig, gpu_gib: float | None) -> str:
    if not config.use_gpu:
        return f"memory of a node: {_gib(facts.node_bytes)}, for all workers on it"
    if gpu_gib is None:
        return "memory of a GPU: not known; gpu_memory_gib=N has the estimate checked"
    return f"memory of a GPU: {gpu_gib:.1f} GiB"


def _gib(num_bytes: float) -> str:
    gib = num_bytes / GIB
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{gib * 1024:.1f} MiB"


def _parts(memory: Memory) -> str:
    return ", ".join(f"{name} {_gib(part)}" for name, part in memory.parts().items())


def refuse_if_too_large(facts: Facts, config: FinetuneConfig, gpu_gib: float | None) -> None:
    """Raise `InputError` if the estimate exceeds a worker's GPU; nothing is refused where its memory is not known."""
    if not config.use_gpu or gpu_gib is None:
        return
    memory = estimate_memory(facts.size, facts.lengths, config)
    if memory.total <= gpu_gib * GIB:
        return
    largest = max(memory.parts().items(), key=lambda part: part[1])[0]
    ways = [f"{change} ({_gib(total)})" for change, total in _ways_out(facts, config, memory.total)]
    ways += ["method=lora"] if config.method == "full" else []
    raise InputError(
        f"each worker would need about {_gib(memory.total)}, but its GPU has {gpu_gib:.1f} GiB: {_parts(memory)}; most "
        f"of it is {largest}. What would help, and what a worker would need then: {', '.join(ways) or 'a larger GPU'}. "
        "It is an estimate: where you know better, raise gpu_memory_gib"
    )


def _ways_out(facts: Facts, config: FinetuneConfig, total: int) -> list[tuple[str, int]]:
    """Return the changes that lower the estimate by at least a hundredth, what they leave, most helpful first."""
    tried = []
    for change, other in _changes(facts.lengths, config):
        tried.append((change, estimate_memory(facts.size, facts.lengths, other).total))
    return sorted((way for way in tried if way[1] < 0.99 * total), key=lambda way: way[1])


def _changes(lengths: Lengths, config: FinetuneConfig) -> Iterator[tuple[str, FinetuneConfig]]:
    """Yield what a user could change, each by itself."""

    def changed(**fields: Any) -> FinetuneConfig:
        return config.model_copy(update=fields)

    stage = effective_stage(config.deepspeed.stage, bf16=uses_bf16_there(config))
    for higher in range(stage + 1, 3 if config.method == "qlora" else 4):
        deepspeed = config.deepspeed.model_copy(update={"stage": higher})
        yield f"deepspeed.stage={higher}", changed(deepspeed=deepspeed)
    if not config.deepspeed.offload_optimizer:
        deepspeed = config.deepspeed.model_copy(update={"offload_optimizer": True})
        yield "deepspeed.offload_optimizer=true", changed(deepspeed=deepspeed)
    if config.method == "lora" and stage < 3:
        yield "method=qlora", changed(method="qlora")
    yield f"num_workers={2 * config.num_workers}", changed(num_workers=2 * config.num_workers)
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing=true", changed(gradient_checkpointing=True)
    yield f"micro_batch_tokens={lengths.longest}", changed(micro_batch_tokens=lengths.longest)


def gpu_memory_gib() -> float | None:
    """Return the memory of the GPU of this process; None without one."""
    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(0).total_memory / GIB)
