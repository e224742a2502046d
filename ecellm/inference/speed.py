"""How long a model takes for prompts and answers, from its shape and what this node's device can do.

The time is that of matrix products alone, 2 FLOPs a parameter and token (Kaplan et al. 2020, arXiv:2001.08361, section
2.1), at a share of what the device does with large ones.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

from ecellm.config import PredictConfig
from ecellm.inference.progress import rate_text


@dataclass(frozen=True)
class ActorTime:
    """What all the work would take one actor.

    Attributes:
        prompt_seconds: to read the prompts.
        answer_seconds: to write answers as long as they may be.
        basis: what this rests on, for a person.
    """

    prompt_seconds: float
    answer_seconds: float
    basis: str

    @property
    def seconds(self) -> float:
        """Both."""
        return self.prompt_seconds + self.answer_seconds


@dataclass(frozen=True)
class Shape:
    """Parameters by what goes through them. The input embeddings are looked up: no products, they count nowhere.

    Attributes:
        prompt: layers that each prompt token goes through; of a sequence-to-sequence model its encoder.
        answer: layers that each answer token goes through.
        head: the output layer: once a prompt and once an answer token. Tied to the input embeddings or not.
    """

    prompt: int
    answer: int
    head: int


def shape_of(base: Any) -> Shape:
    """Return the shape of a model; experts of which a token meets only some are all counted."""

    def count(module: Any) -> int:
        return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in left_out)

    head = base.get_output_embeddings()
    left_out = {id(base.get_input_embeddings().weight), *(() if head is None else map(id, head.parameters()))}
    num_head = 0 if head is None else sum(parameter.numel() for parameter in head.parameters())
    layers = count(base)
    if not base.config.is_encoder_decoder:
        return Shape(layers, layers, num_head)
    encoder = count(base.get_encoder())
    return Shape(encoder, layers - encoder, num_head)


@dataclass(frozen=True)
class Speed:
    """What a device does.

    Attributes:
        flops: FLOP/s of large matrix products.
        utilisation: share of it that prompts get.
        half: sequences at once at which answers get half of what prompts get. Each step of an answer reads all
            weights, so that few sequences wait for memory: a step takes as long as `half` more sequences would.
        basis: what it rests on, for a person.
    """

    flops: float
    utilisation: float
    half: float
    basis: str

    def time(
        self, shape: Shape, *, num_rows: int, num_prompt_tokens: int, num_answer_tokens: int, at_once: int
    ) -> ActorTime:
        """Return what rows take, answered `at_once` together."""
        speed = self.flops * self.utilisation
        prompts = 2 * (shape.prompt * num_prompt_tokens + shape.head * num_rows)
        answers = 2 * (shape.answer + shape.head) * num_answer_tokens
        basis = self.basis + _LEAST * (shape.prompt < _FEW_PARAMETERS)
        return ActorTime(prompts / speed, answers / speed * (at_once + self.half) / at_once, basis)


# Never measured by us: what is usually reached. The halves are peak FLOP/s by bytes/s of memory times bytes of a
# parameter by its 2 FLOPs, from NVIDIA's data sheets: bf16 A100 153, H100 295, L4 403; fp32 A100 19, H100 40.
_GPU_UTILISATION = 0.4
_GPU_HALF = {"bf16": 300.0, "fp32": 30.0}
# Measured with Gemma 3 270M (100M parameters in its layers, 168M in its output layer) on one thread of a Xeon with
# AVX-512, beside other work, so in seconds of CPU: 16 prompts of 258 tokens in batches of 4 got 93 and 101 GFLOP/s of
# the 155 and 157 of `measured_flops` in fp32 (8.9 and 8.2 s), 64 and 65 of 86 and 89 in bf16 (13.0 and 12.8 s).
_CPU_UTILISATION = {"bf16": 0.7, "fp32": 0.6}
# A step of 1, 4, 16 answers got 4, 8, 20 % of large products in fp32, and 7, 21, 44 % in bf16, which gives halves of
# 15, 26, 32 and 9, 9, 10.
_CPU_HALF = {"bf16": 9.0, "fp32": 30.0}
# Of the demo's tiny model the products were 5 % of the time (2 of 43 s, beside other work); of Gemma 3 270M (100M
# parameters in its layers) they are most of it.
_FEW_PARAMETERS = 20_000_000
_LEAST = "; with layers of so few parameters other work than their products counts most: this is the least it takes"
# Rows a thread, inputs, outputs: 0.3 GFLOP, a millisecond or two, which a busy CPU gives without a break.
_MATMUL = 256, 512, 1024
_SECONDS_OF_MEASUREMENT = 0.5


def gpu_speed(config: PredictConfig) -> Speed | None:
    """Return what this node's GPU should do; None if there is none, or its peak is not known."""
    import torch

    from ecellm.flops import peak_flops
    from ecellm.model_loading import gpu_has_bf16

    bf16 = config.precision == "bf16" or (config.precision == "auto" and gpu_has_bf16())
    peak = peak_flops(torch.device("cuda"), bf16)
    if peak is None:
        return None
    dtype = "bf16" if bf16 else "fp32"
    number = config.vllm.tensor_parallel_size if config.engine == "vllm" else 1
    basis = f"{_GPU_UTILISATION:.0%} of the peak of {torch.cuda.get_device_name()} in {dtype}, {_flops_text(peak)}"
    return Speed(number * peak, _GPU_UTILISATION, _GPU_HALF[dtype], basis + (f", times {number}" * (number > 1)))


def _flops_text(flops: float) -> str:
    return f"{rate_text(flops / 1e12)} TFLOP/s" if flops >= 1e12 else f"{rate_text(flops / 1e9)} GFLOP/s"


def cpu_speed(config: PredictConfig) -> Speed:
    """Return what this node's CPU does now; actors beside each other share its memory, which is not counted."""
    dtype = "bf16" if config.precision == "bf16" else "fp32"
    flops = measured_flops(bf16=dtype == "bf16", num_threads=config.cpus_per_actor)
    utilisation = _CPU_UTILISATION[dtype]
    basis = (
        f"{utilisation:.0%} of the {_flops_text(flops)} in {dtype} that cpus_per_actor={config.cpus_per_actor} "
        "measured on this node"
    )
    return Speed(flops, utilisation, _CPU_HALF[dtype], basis)


def measured_flops(*, bf16: bool, num_threads: int) -> float:
    """Return the FLOP/s of matrix products on this CPU: of the fastest, since others may be at work beside it."""
    import torch

    threads_before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        rows, inputs, outputs = _MATMUL
        rows *= num_threads
        left = torch.ones(rows, inputs, dtype=torch.bfloat16 if bf16 else torch.float32)
        right = torch.ones(outputs, inputs, dtype=left.dtype)
        end = time.perf_counter() + _SECONDS_OF_MEASUREMENT
        fastest = math.inf
        while fastest == math.inf or time.perf_counter() < end:
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            fastest = min(fastest, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads_before)
    return 2 * rows * inputs * outputs / fastest
