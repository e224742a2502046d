"""vLLM inside the shard's actor: prompts as token ids in, answers out as they come, in one process.

The engine is vLLM's own (`LLMEngine`), driven step by step, so that a row is done, or fails, by itself and a shard
still is one part file. For 64 prompts ray.data.llm's processor took 66 s where this engine took 30 s, start included
(once each, two cores, Gemma 3 270M: tests/benchmarks/vllm_speed.py); it knows no part files and no choices either.

Choices are compared by the log-probabilities of given tokens (`logprob_token_ids`, of the model's whole vocabulary),
one token behind the prompt, or, where first tokens collide, behind each beginning that the choices have: these share
the prompt in vLLM's prefix cache, and no logits of the prompt itself are needed, as they would be for
`prompt_logprobs`.

Adapters stay beside the model. Without a GPU vLLM copies their weights for every token, which merged/ does not need.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from ecellm.config.predict import VllmSettings
from ecellm.errors import InputError
from ecellm.inference import choices
from ecellm.inference.complete import AnswerReader
from ecellm.inference.engines.vllm_checks import (
    LORA_RANKS,
    MERGE_ADVICE,
    gpu_has_bf16,
    rank_of,
    read_adapter_config,
)
from ecellm.inference.request import Answer, Failure, Request
from ecellm.inference.sampling import PAPER_TEMPERATURE, PAPER_TOP_P, row_seed

# Set before vLLM is imported, unless the node's environment says otherwise.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives and dies with its actor
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
# The prefix cache keeps whole blocks. Without a GPU vLLM's are of 128 tokens, longer than what most prompts share.
_CPU_BLOCK_TOKENS = 32
_MOST_TOKENS_A_QUESTION = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS

# What the choices begin with, and the tokens that may follow.
Questions = dict[tuple[int, ...], list[int]]


@dataclass
class _Row:
    """A request that is under way.

    Attributes:
        place: of the request in its list.
        request: the request.
        prefixes: what stands behind the prompt, by id of the requests to vLLM that are open.
        found: log-probabilities of tokens by what stands before them.
    """

    place: int
    request: Request
    prefixes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    found: dict[tuple[int, ...], dict[int, float]] = field(default_factory=dict)


class VllmEngine:
    """Answers with one model in vLLM, and with adapters on it."""

    def __init__(
        self,
        path: str,
        revision: str | None,
        tokenizer: Any,
        adapters: Mapping[str, str],
        *,
        decoding: str,
        seed: int,
        max_length: int,
        precision: str,
        use_gpu: bool,
        settings: VllmSettings,
        trust_remote_code: bool = False,
    ) -> None:
        """Load the model; torch's number of threads counts as it is set before, and is fixed from then on.

        Args:
            path: local directory or hub name of a causal model.
            revision: hub revision.
            tokenizer: its tokenizer, a transformers tokenizer.
            adapters: local directories of peft adapters by name.
            decoding: greedy, paper or choice.
            seed: of sampling.
            max_length: most tokens of prompt and answer together; the model's own limit, if that is lower.
            precision: auto (bf16 on a GPU that has it, else fp32), fp32 or bf16.
            use_gpu: whether this worker was given a GPU.
            settings: how vLLM runs.
            trust_remote_code: run the Python code that the model brings along.

        Raises:
            InputError: vLLM does not take an adapter.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from transformers import AutoConfig
        from vllm import EngineArgs, LLMEngine
        from vllm.lora.request import LoRARequest
        from vllm.usage.usage_lib import UsageContext

        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        self._use_gpu = use_gpu
        self._reader = AnswerReader.of(tokenizer, _generation_config(path, revision, config))
        self._decoding = decoding
        self._seed = seed
        self._max_length = _longest(config, max_length)
        arguments = EngineArgs(
            model=path,
            revision=revision,
            trust_remote_code=trust_remote_code,
            load_format="safetensors",  # pickled weights may bring code
            seed=seed,
            max_model_len=self._max_length,
            dtype="bfloat16" if _is_bf16(precision, use_gpu=use_gpu) else "float32",
            **_FIXED,
            **_device_arguments(settings, use_gpu=use_gpu),
            **_lora_arguments(adapters),
        )
        # This context has the batch sizes for many prompts at once; the default one's are a fraction of them.
        self._engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        self._num_threads = torch.get_num_threads()
        self._adapters = {name: LoRARequest(name, i, path) for i, (name, path) in enumerate(adapters.items(), 1)}
        for name, adapter in self._adapters.items():
            _add_adapter(self._engine, name, adapter)

    def answer(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests, all at work at once; vLLM decides which share a step.

        Raises:
            InputError: the model alone is asked of an engine with adapters, without a GPU.
        """
        if adapter is None and self._adapters and not self._use_gpu:
            # vLLM 0.29's operators for CPUs then add an adapter to the tokens that are to have none.
            raise InputError("vLLM without a GPU does not answer with the model alone while it has adapters")
        # OpenMP's number of threads is each thread's own, and an actor is called in another thread than made it: vLLM's
        # kernels for CPUs answer wrongly, without a word, where it is not the one that they were set up with. vLLM
        # has put an empty function in place of torch.set_num_threads by now.
        threadpool_limits(self._num_threads, user_api="openmp")
        open_rows: dict[str, _Row] = {}
        lora = None if adapter is None else self._adapters[adapter]
        try:
            for place, request in enumerate(requests):
                row = _Row(place, request)
                failure = self._start(row, lora)
                if failure is not None:
                    yield place, failure
                open_rows.update(dict.fromkeys(row.prefixes, row))
            while self._engine.has_unfinished_requests():
                for output in self._engine.step():
                    row = open_rows[output.request_id]
                    answer = self._read(row, output)
                    if answer is not None:
                        self._stop(row)
                        yield row.place, answer
        finally:
            self._engine.abort_request([name for row in open_rows.values() for name in row.prefixes])

    def _start(self, row: _Row, lora: Any) -> Failure | None:
        """Put a row's questions to vLLM; return why that cannot be."""
        from vllm.exceptions import VLLMError

        questions = self._questions(row.request)
        longest = len(row.request.prompt_ids) + max(map(len, questions)) + 1
        if longest > self._max_length:
            return Failure(f"prompt_does_not_fit: {longest} tokens, more than {self._max_length}: raise max_length")
        try:
            for prefix, tokens in questions.items():
                for start in range(0, max(len(tokens), 1), _MOST_TOKENS_A_QUESTION):
                    name = f"{row.place}-{len(row.prefixes)}"
                    row.prefixes[name] = prefix
                    self._ask(name, row.request, prefix, tokens[start : start + _MOST_TOKENS_A_QUESTION], lora)
        except (VLLMError, ValueError) as error:
            self._stop(row)
            return Failure.of(error)
        return None

    def _questions(self, request: Request) -> Questions:
        """Return the tokens whose log-probabilities are asked for; none where the answer is written freely."""
        return questions_of(request) if self._decoding == "choice" and request.choices else {(): []}

    def _ask(self, name: str, request: Request, prefix: tuple[int, ...], tokens: list[int], lora: Any) -> None:
        from vllm.inputs import tokens_input

        prompt = tokens_input([*request.prompt_ids, *prefix])
        self._engine.add_request(name, prompt, self._parameters(request, tokens), lora_request=lora)

    def _parameters(self, request: Request, tokens: list[int]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if tokens:
            kind = {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": tokens}
        else:
            kind = {"max_tokens": request.max_new_tokens, **self._sampling(request)}
        # A line's end has to be seen while the answer is written.
        is_watched = request.is_one_line and not tokens
        return SamplingParams(
            **kind,
            # Answers end with the same tokens in every engine, whatever the model's files name besides.
            ignore_eos=True,
            stop_token_ids=[] if tokens else sorted(self._reader.ends),
            detokenize=False,
            output_kind=RequestOutputKind.CUMULATIVE if is_watched else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _sampling(self, request: Request) -> dict[str, Any]:
        if self._decoding != "paper":
            return {"temperature": 0.0}
        seed = row_seed(self._seed, request.key)
        return {"temperature": PAPER_TEMPERATURE, "top_p": PAPER_TOP_P, "seed": seed}

    def _read(self, row: _Row, output: Any) -> Answer | Failure | None:
        """Take what vLLM has to say on a row; return the row's answer if it is complete."""
        (completion,) = output.outputs
        if completion.finish_reason in {"abort", "error"}:
            return Failure(f"vLLM gave the request up: {completion.finish_reason}")
        if not self._questions(row.request).get((), ()):
            return self._reader.read(list(completion.token_ids), row.request, is_finished=output.finished)
        (logprobs,) = completion.logprobs
        found = row.found.setdefault(row.prefixes.pop(output.request_id), {})
        found.update({token: entry.logprob for token, entry in logprobs.items()})
        return None if row.prefixes else choices.answer_of(row.request, scores_of(row.request, row.found))

    def _stop(self, row: _Row) -> None:
        self._engine.abort_request(list(row.prefixes))
        row.prefixes.clear()


def questions_of(request: Request) -> Questions:
    """Return which tokens' log-probabilities decide: the first ones, or, where these collide, all tokens."""
    assert request.choice_ids is not None
    if choices.differ_at_once(request):
        return {(): [ids[0] for ids in request.choice_ids]}
    following: dict[tuple[int, ...], dict[int, None]] = {}
    for ids in request.choice_ids:
        for place, token in enumerate(ids):
            following.setdefault(tuple(ids[:place]), {})[token] = None
    return {prefix: list(tokens) for prefix, tokens in following.items()}


def scores_of(request: Request, found: Mapping[tuple[int, ...], Mapping[int, float]]) -> list[float]:
    """Return the choices' log-probabilities.

    Args:
        request: with choices.
        found: log-probabilities of tokens by what stands between them and the prompt, as `questions_of` asks.
    """
    assert request.choice_ids is not None
    length = 1 if choices.differ_at_once(request) else None
    return [
        sum(found[tuple(ids[:place])][token] for place, token in enumerate(ids[:length])) for ids in request.choice_ids
    ]


_FIXED: dict[str, Any] = {
    "skip_tokenizer_init": True,  # token ids go in and come out
    "generation_config": "vllm",  # nothing of the model's own way of sampling
    "language_model_only": True,
    "enable_prefix_caching": True,
    "logprobs_mode": "raw_logprobs",
    "disable_log_stats": True,
    "use_tqdm_on_load": False,
}


def _device_arguments(settings: VllmSettings, *, use_gpu: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enforce_eager": settings.enforce_eager,
        # In an actor of a placement group vLLM would ask Ray for actors of its own.
        "distributed_executor_backend": "mp" if settings.tensor_parallel_size > 1 else "uni",
    }
    if settings.max_num_seqs is not None:
        arguments["max_num_seqs"] = settings.max_num_seqs
    if use_gpu:
        return {**arguments, "gpu_memory_utilization": settings.gpu_memory_utilization}
    return {**arguments, "kv_cache_memory_bytes": settings.cpu_cache_gib * 2**30, "block_size": _CPU_BLOCK_TOKENS}


def _lora_arguments(adapters: Mapping[str, str]) -> dict[str, Any]:
    if not adapters:
        return {}
    rank = max(rank_of(read_adapter_config(path)) for path in adapters.values())
    most = next((number for number in LORA_RANKS if number >= rank), rank)
    return {"enable_lora": True, "max_loras": 1, "max_cpu_loras": len(adapters), "max_lora_rank": most}


def _add_adapter(engine: Any, name: str, adapter: Any) -> None:
    """Load an adapter now: one that vLLM does not take fails the actor, not every row."""
    from vllm.exceptions import VLLMError

    try:
        engine.add_lora(adapter)
    except (VLLMError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:500]
        raise InputError(f"vLLM does not take adapter {name}: {reason}; {MERGE_ADVICE}") from None


def _is_bf16(precision: str, *, use_gpu: bool) -> bool:
    has_it = use_gpu and torch.cuda.is_available() and gpu_has_bf16()
    return precision == "bf16" or (precision == "auto" and has_it)


def _longest(config: Any, max_length: int) -> int:
    """Return the most tokens of a sequence: vLLM refuses more than a model was made for."""
    own = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(max_length, own) if own else max_length


def _generation_config(path: str, revision: str | None, config: Any) -> Any:
    """Return a model's generation config; that of its model config where it has no file of its own."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(path, revision=revision)
    except OSError:
        return GenerationConfig.from_model_config(config)
