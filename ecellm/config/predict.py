"""The config of predict."""

from typing import Any, Literal, Self

from pydantic import model_validator

from ecellm.config.base import Frozen, check_settings, content, location, operational
from ecellm.config.prompts import PromptConfig, check_p5

# Rows of one unit of work by engine, where the user gives none: minutes of work, and files of a sensible size.
_ROWS_PER_SHARD = {"transformers": 256, "vllm": 1024, "openai": 256, "fake": 20_000}


class VllmSettings(Frozen):
    """How vLLM runs (engine=vllm)."""

    tensor_parallel_size: int = operational(1, ge=1, description="GPUs that share one copy of the model")
    gpu_memory_utilization: float = operational(0.9, gt=0, le=1, description="share of a GPU's memory that vLLM takes")
    cpu_cache_gib: int = operational(2, ge=1, description="memory of the key-value cache without a GPU, GiB")
    enforce_eager: bool = operational(
        False, description="nothing is compiled, no CUDA graphs: starts faster, runs slower"
    )
    max_num_seqs: int | None = operational(None, ge=1, description="most sequences at once; null = vLLM's default")


class OpenAISettings(Frozen):
    """How an OpenAI-compatible endpoint is asked (engine=openai); the key comes from the environment alone."""

    base_url: str = content(
        "https://api.openai.com/v1",
        pattern=r"^https?://[^/\s@?#]+(/[^\s@?#]*)?$",  # no login, no query: a key may stand in neither
        description="the endpoint, up to and with /v1",
    )
    api_key_env: str | None = operational(
        "OPENAI_API_KEY",  # pragma: allowlist secret
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="name of the environment variable that holds the key, on the nodes; null = the endpoint wants none",
    )
    api: Literal["chat", "completions"] = content(
        "chat", description="chat = the prompt as one user message; completions = the prompt's text as it is"
    )
    tokenizer: str | None = content(
        None, description="model whose tokenizer shortens prompts to max_length; null = they are sent whole"
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = content(
        "max_tokens", description="what the endpoint calls the limit of an answer's tokens"
    )
    sends_sampling: bool = content(
        True, description="send temperature and the like, which some models that reason refuse; false = their defaults"
    )
    reasoning_tokens: int = content(
        0, ge=0, description="tokens of a request beside those of the answer, for models that reason before they answer"
    )
    extra_body: dict[str, Any] = content(
        default_factory=dict, description="fields added to every request, e.g. {reasoning_effort: none}; never a key"
    )
    concurrency: int = operational(16, ge=1, description="requests of one actor under way at once")
    max_retries: int = operational(8, ge=0, description="tries of a request after the first, on 408, 409, 429 and 5xx")
    journal_seconds: float = operational(
        10.0, gt=0, le=25, description="time between writes of what was answered: a kill loses no more of it"
    )
    timeout_seconds: float = operational(120.0, gt=0, description="longest silence of the endpoint before a try ends")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.api == "completions" and self.max_tokens_field != "max_tokens":
            raise ValueError("api=completions knows max_tokens alone: max_tokens_field must be max_tokens")
        return self

    def lacks_template(self, prompt_format: str) -> bool:
        """Tell whether nobody would put a prompt of this format into a chat template."""
        return prompt_format == "chat_template" and self.api == "completions" and self.tokenizer is None


class PriceSettings(Frozen):
    """What answering costs, in any currency: for the estimate before, and the bill after."""

    per_actor_hour: float = operational(0.0, ge=0, description="price of one actor's machine, an hour")
    per_million_prompt_tokens: float = operational(0.0, ge=0, description="price of a million prompt tokens")
    per_million_completion_tokens: float = operational(0.0, ge=0, description="price of a million answer tokens")
    currency: str = operational("USD", description="what the prices are in")

    @property
    def is_given(self) -> bool:
        """Whether there is any price."""
        return bool(self.per_actor_hour or self.per_million_prompt_tokens or self.per_million_completion_tokens)


class PredictConfig(PromptConfig):
    """`python -m jobs.predict`: answers to test samples."""

    samples_dir: str = location(description="samples of build or ingest")
    model: str = location(
        description="model that answers: path, s3://, package:// or hub name; engine=openai: its name at the endpoint"
    )
    adapter: str | None = location(None, description="peft adapter on the model; null = none")
    adapters: tuple[str, ...] = location(
        (), description="several peft adapters on the model, each of which answers all rows, as a run of its own"
    )
    model_revision: str | None = content(None, description="revision on the hub; null = main")
    engine: Literal["transformers", "vllm", "openai", "fake"] = content(
        "transformers", description="what runs the model"
    )
    decoding: Literal["greedy", "paper", "choice"] = content(
        "greedy", description="greedy; the paper's sampling; or closed answers compared by probability"
    )
    settings: tuple[str, ...] | None = content(None, description="settings to answer; null = all in the samples")
    tasks: tuple[str, ...] | None = content(None, description="tasks to answer; null = all in the samples")
    split: Literal["train", "val", "test"] = content("test", description="split to answer")
    limit: int | None = content(None, ge=1, description="first rows of each (setting, task); null = all")
    rows_per_shard: int | None = content(
        None, ge=1, description="rows of one unit of work, and of one Parquet file; null = what suits the engine"
    )
    precision: Literal["auto", "fp32", "bf16"] = content(
        "auto", description="auto = bf16 on a GPU that has it, else fp32"
    )
    max_batch_size: int = operational(16, ge=1, description="most prompts answered at once by one actor")
    num_actors: int | None = operational(
        None,
        ge=1,
        description="copies of the model at work at once; null = as many as there is room for, more as nodes come, "
        "one for engine=openai",
    )
    use_gpu: bool = operational(False, description="give every actor a GPU")
    cpus_per_actor: int = operational(1, ge=1, description="CPUs of an actor, and its torch threads without a GPU")
    max_error_share: float = operational(0.0, ge=0, le=1, description="share of failed rows that is still a success")
    retry_errors: bool = operational(False, description="answer again the parts that have failed rows")
    vllm: VllmSettings = operational(VllmSettings(), description="how vLLM runs")
    openai: OpenAISettings = operational(OpenAISettings(), description="how an OpenAI-compatible endpoint is asked")
    price: PriceSettings = operational(PriceSettings(), description="what answering costs")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_settings(self.settings)
        check_p5(self.prompt_format, self.tasks)
        if self.adapter and self.adapters:
            raise ValueError("give adapter, or adapters for several, not both")
        if len(set(self.all_adapters)) < len(self.all_adapters):
            raise ValueError("adapters names one adapter twice")
        if self.engine == "openai" and self.openai.lacks_template(self.prompt_format):
            raise ValueError(
                "openai.api=completions with prompt_format=chat_template needs openai.tokenizer, whose it is"
            )
        if self.engine == "openai" and self.all_adapters != (None,):
            raise ValueError("engine=openai: an endpoint's adapter has a name of its own; give that as model")
        return self

    @property
    def all_adapters(self) -> tuple[str | None, ...]:
        """The adapters that answer, one after the other; None stands for the model alone."""
        return self.adapters or (self.adapter,)

    @property
    def rows_of_a_shard(self) -> int:
        """Rows of one unit of work."""
        return self.rows_per_shard or _ROWS_PER_SHARD[self.engine]

    @property
    def actors_at_once(self) -> int | None:
        """How many actors work at once, None for as many as there is room for.

        An endpoint is asked by one, with many requests under way.
        """
        return self.num_actors or (1 if self.engine == "openai" else None)

    @property
    def has_local_model(self) -> bool:
        """Whether the model's files are here: it is loaded, and its own tokenizer makes the prompts."""
        return self.engine in {"transformers", "vllm"}
