"""How fast predict answers beside vLLM's own offline API: Gemma 3 270M, real Product_Matching test prompts, no GPU.

    ECELLM_REAL_DATA=RAW .venv-vllm/bin/python -m tests.benchmarks.vllm_speed --model MODEL [--only engine,choice,ray]

engine  predict's vLLM engine against LLM.generate: same settings, prefix caching, 2 new tokens
choice  the embedded engine comparing choices (`decoding: choice`) against LLM.generate, 2 new tokens
ray     predict's vLLM engine against ray.data.llm's processor, once each, from nothing to all answers: start included

Medians of interleaved pairs, with their spread; prefix caches are emptied before each run. Ratios above 1: predict is
faster. MODEL is a directory with config.json; `make benchmark-tuning` leaves one in ~/.cache/ecellm/models.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecellm.config.predict import VllmSettings
from ecellm.inference.request import Request
from tests.benchmarks.answering_prompts import real_requests, tokenizer_of
from tests.benchmarks.tuning_loops import raw_dir_or_exit

_NUM_NEW_TOKENS = 2
_MAX_LENGTH = 1024
_CACHE_GIB = 1
_CHOICE_BATCH = 16
Requests = Sequence[Request]


class VllmInPredict:
    """predict's vLLM engine, as an actor has it."""

    def __init__(self, given: argparse.Namespace, tokenizer: Any) -> None:
        from ecellm.inference.engines.vllm_engine import VllmEngine

        self._engine = VllmEngine(
            given.model,
            None,
            tokenizer,
            {},
            decoding="greedy",
            seed=1,
            max_length=_MAX_LENGTH,
            precision=given.precision,
            use_gpu=False,
            settings=VllmSettings(cpu_cache_gib=_CACHE_GIB, enforce_eager=given.eager),
        )

    def answer(self, requests: Requests) -> None:
        """Answer the requests."""
        asked = [Request(r.key, "", r.prompt_ids, _NUM_NEW_TOKENS) for r in requests]
        assert len(list(self._engine.answer(asked, None))) == len(requests)

    def forget(self) -> None:
        """Empty the prefix cache."""
        self._engine._engine.reset_prefix_cache()


class ChoiceInPredict:
    """The embedded engine, comparing choices."""

    def __init__(self, given: argparse.Namespace, tokenizer: Any) -> None:
        from ecellm.inference.engines.transformers_engine import TransformersEngine, load_model

        model = load_model(given.model, None, {}, precision=given.precision, use_gpu=False)
        self._engine = TransformersEngine(model, tokenizer, decoding="choice", seed=1, max_batch_size=_CHOICE_BATCH)

    def answer(self, requests: Requests) -> None:
        """Answer the requests."""
        assert len(list(self._engine.answer(requests, None))) == len(requests)

    def forget(self) -> None:
        """Do nothing: it keeps nothing."""


class Theirs:
    """vLLM's own way for many prompts at once."""

    def __init__(self, given: argparse.Namespace) -> None:
        from vllm import LLM

        self._llm = LLM(
            given.model,
            dtype="float32" if given.precision == "fp32" else "bfloat16",
            max_model_len=_MAX_LENGTH,
            enforce_eager=given.eager,
            enable_prefix_caching=True,
            kv_cache_memory_bytes=_CACHE_GIB * 2**30,
            block_size=given.block_size,
            use_tqdm_on_load=False,
        )

    def answer(self, requests: Requests) -> None:
        """Answer the requests."""
        from vllm import SamplingParams, TokensPrompt

        parameters = SamplingParams(temperature=0.0, max_tokens=_NUM_NEW_TOKENS)
        asked = [TokensPrompt(prompt_token_ids=[*request.prompt_ids]) for request in requests]
        assert len(self._llm.generate(asked, parameters, use_tqdm=False)) == len(requests)

    def forget(self) -> None:
        """Empty the prefix cache."""
        self._llm.reset_prefix_cache()


Contestant = VllmInPredict | ChoiceInPredict | Theirs


def asked_of(given: argparse.Namespace) -> tuple[Requests, Any]:
    """Return the requests and the tokenizer that made them."""
    tokenizer = tokenizer_of(given.model)
    return real_requests(raw_dir_or_exit(given.raw_dir), tokenizer)[: given.prompts], tokenizer.tokenizer


def compare(name: str, ours: Contestant, theirs: Contestant, requests: Requests, given: argparse.Namespace) -> None:
    """Print the ratio of rows per second."""
    pairs = []
    for engine in (ours, theirs):
        engine.answer(requests[:4])  # warm-up
    for number in range(given.pairs):
        # In turns, now the one first, now the other: what else the machine does hits both.
        engines = [ours, theirs] if number % 2 else [theirs, ours]
        found = {engine: len(requests) / _seconds(engine, requests) for engine in engines}
        pairs.append((found[ours], found[theirs]))
    ratios = sorted(mine / others for mine, others in pairs)
    print(
        f"{name} {given.precision}, vLLM's blocks of {given.block_size} tokens, {len(requests)} prompts of "
        f"{statistics.mean(len(request.prompt_ids) for request in requests):.0f} tokens: "
        f"{statistics.median(m for m, _ in pairs):.2f} against {statistics.median(o for _, o in pairs):.2f} rows/s, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} pairs)",
        flush=True,
    )


def _seconds(engine: Contestant, requests: Requests) -> float:
    engine.forget()
    start = time.perf_counter()
    engine.answer(requests)
    return time.perf_counter() - start


def time_engine(given: argparse.Namespace) -> float:
    """Return the seconds that VllmEngine takes from nothing to all answers."""
    requests, tokenizer = asked_of(given)
    start = time.perf_counter()
    VllmInPredict(given, tokenizer).answer(requests)
    return time.perf_counter() - start


def time_ray(given: argparse.Namespace) -> float:
    """Return the seconds that a processor of ray.data.llm takes from nothing to all answers; Ray runs already."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    requests, _ = asked_of(given)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    environment = {"VLLM_CPU_KVCACHE_SPACE": str(_CACHE_GIB)}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    start = time.perf_counter()
    config = vLLMEngineProcessorConfig(
        model_source=given.model,
        engine_kwargs={
            "dtype": "float32" if given.precision == "fp32" else "bfloat16",
            "max_model_len": _MAX_LENGTH,
            "enforce_eager": given.eager,
            "enable_prefix_caching": True,
            "block_size": given.block_size,
        },
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        placement_group_config={"bundles": [{"CPU": 1}]},
        log_engine_metrics=False,
    )
    sampling = {"max_tokens": _NUM_NEW_TOKENS, "temperature": 0.0}
    processor = build_processor(
        config,
        preprocess=lambda row: {"tokenized_prompt": row["ids"], "prompt": "", "sampling_params": sampling},
        postprocess=lambda row: {"num": row["num_generated_tokens"]},
    )
    rows = processor(ray.data.from_items([{"ids": [*request.prompt_ids]} for request in requests])).take_all()
    assert len(rows) == len(requests)
    return time.perf_counter() - start


def compare_with_ray(given: argparse.Namespace) -> None:
    """Print how long both take for the same prompts; each has a process of its own."""
    seconds = {}
    for name in ("time_engine", "time_ray"):
        command = [sys.executable, "-m", "tests.benchmarks.vllm_speed", *sys.argv[1:], "--run", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds[name] = float(json.loads(output.strip().splitlines()[-1])["seconds"])
    ours, theirs = seconds["time_engine"], seconds["time_ray"]
    print(
        f"ray {given.precision}, {given.prompts} prompts, start included: {ours:.0f} s against {theirs:.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--raw-dir", type=Path)
    parser.add_argument("--only", default="engine,choice,ray")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--eager", action="store_true", help="nothing is compiled: starts faster")
    parser.add_argument("--block-size", type=int, default=32, help="of the others' prefix cache; vLLM's own: 128")
    parser.add_argument("--run", choices=("time_engine", "time_ray"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if given.run:
        print(json.dumps({"seconds": {"time_engine": time_engine, "time_ray": time_ray}[given.run](given)}))
        return
    only = given.only.split(",")
    if {"engine", "choice"} & set(only):
        requests, tokenizer = asked_of(given)
        theirs = Theirs(given)
    if "engine" in only:
        compare("vLLM in predict", VllmInPredict(given, tokenizer), theirs, requests, given)
    if "choice" in only:
        compare("choice", ChoiceInPredict(given, tokenizer), theirs, requests, given)
    if "ray" in only:
        compare_with_ray(given)


if __name__ == "__main__":
    main()
