"""One frozen pydantic model per job: what a recipe may say, with meaning, unit and default.

A field is made by `content` when it changes what a job writes (it is then part of the fingerprint), by `operational`
when it changes only how or where the job runs, and by `location` when it names an input, whose own fingerprint counts
instead of its path.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecellm.settings import PAPER_TRAINING_SETTING, SETTINGS


class Effect(StrEnum):
    """What a config field does to a job's output."""

    CONTENT = "content"
    OPERATIONAL = "operational"
    LOCATION = "location"


def content(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a field that changes what the job writes."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.CONTENT}, **constraints)


def operational(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a field that changes only how or where the job runs."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.OPERATIONAL}, **constraints)


def location(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a path: of an input (its fingerprint counts, not its name) or of the output."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.LOCATION}, **constraints)


class Frozen(BaseModel):
    """Base of every config model: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StorageConfig(Frozen):
    """How to reach the object store. Credentials come from the environment of the nodes, never from here."""

    endpoint_url: str | None = operational(
        None, pattern=r"^https?://[^/\s]+", description="S3 endpoint, e.g. http://127.0.0.1:8333; null = AWS"
    )
    region: str | None = operational(None, description="S3 region; null = from the environment")
    profile: str | None = operational(None, description="name of an AWS profile on the nodes; null = default chain")
    anonymous: bool = operational(False, description="read public buckets without credentials")
    max_retries: int = operational(5, ge=0, description="tries of one request after the first")


class RayConfig(Frozen):
    """Which cluster runs the job."""

    address: str | None = operational(
        None, description="cluster to join; null = RAY_ADDRESS (set by `ray job submit`), else a local Ray"
    )
    num_cpus: int | None = operational(
        None, ge=4, description="logical CPUs of a local Ray; null = the machine's, at least 4"
    )


class JobConfig(Frozen):
    """Fields of every job."""

    output_dir: str = location(description="directory or URL that the job writes")
    overwrite: bool = operational(
        False, description="remove what lies in output_dir if it was made by another configuration"
    )
    seed: int = content(1, ge=0, description="seed of everything drawn at random")
    storage: StorageConfig = operational(StorageConfig(), description="object store access")
    ray: RayConfig = operational(RayConfig(), description="cluster access")


Size = Annotated[int, Field(ge=1)] | Literal["all"]


class Sizes(Frozen):
    """How many samples to keep of each split."""

    train: Size = content("all", description="training samples a task, or all")
    val: Size = content("all", description="validation samples a task, or all")
    test: Size = content("all", description="test samples a task and domain, or all")


def _known_settings(settings: tuple[str, ...] | None) -> None:
    for name in settings or ():
        if name not in SETTINGS:
            raise ValueError(f"unknown setting {name!r}; known settings: {', '.join(SETTINGS)}")


class DomainCategories(Frozen):
    """Product categories of one task, by domain: the names in the raw files' names, or in their `category` fields."""

    in_domain: tuple[str, ...] = content(min_length=1, description="categories of the in-domain data, in order")
    out_of_domain: tuple[str, ...] = content((), description="categories of the out-of-domain test")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = (*self.in_domain, *self.out_of_domain)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} named twice: in-domain and out-of-domain categories must be disjoint")
        return self


_REVIEW_CATEGORIES = DomainCategories(
    in_domain=("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors"), out_of_domain=("Tools_and_Home_Improvement",)
)
PAPER_CATEGORIES: dict[str, DomainCategories] = {
    "Product_Relation_Prediction": _REVIEW_CATEGORIES,
    "Sentiment_Analysis": _REVIEW_CATEGORIES,
    "Sequential_Recommendation": _REVIEW_CATEGORIES,
    "Answerability_Prediction": DomainCategories(
        in_domain=("Sports_and_Outdoors", "Tools_and_Home_Improvement"), out_of_domain=("Cell_Phones_and_Accessories",)
    ),
    "Answer_Generation": DomainCategories(
        in_domain=("Electronics", "Home_and_Kitchen"), out_of_domain=("Cell_Phones_and_Accessories",)
    ),
}


class BuildConfig(JobConfig):
    """`python -m jobs.build`: samples from raw sources."""

    raw_dir: str = location(description="directory that holds the raw sources, e.g. amazon_google/")
    tasks: tuple[str, ...] | None = content(None, description="tasks to build; null = all ten")
    sizes: Sizes = content(Sizes(), description="samples to keep of each split")
    task_sizes: dict[str, Sizes] = content(
        default_factory=dict, description="other sizes for some tasks: {Sequential_Recommendation: {train: 100}}"
    )
    categories: dict[str, DomainCategories] = content(
        default_factory=dict,
        description="categories by task, {PRP: {in_domain: [...], out_of_domain: [...]}}, or `all` for every task that "
        "has them; others keep the paper's",
    )
    instructions: str | None = location(None, description="catalogue of instructions (JSON); null = the project's own")
    negatives: Literal["random", "hard"] = content(
        "random",
        description="wrong answers of Product_Matching and Sequential_Recommendation: drawn at random, or the products "
        "with the most similar titles that do not match",
    )
    sequential_split: Literal["leave_one_out", "user_disjoint"] = content(
        "leave_one_out",
        description="Sequential_Recommendation: each user's last three purchases are the targets of train, val and "
        "test (the paper's); or each user is in one split only, with the last purchase as target",
    )
    held_out_rows: int = content(
        1000,
        ge=1,
        description="Attribute_Value_Extraction: attributes are held out until they cover so many test rows (at most "
        "half of them): the out-of-domain test",
    )
    leakage: Literal["report", "drop", "fail"] = content(
        "report",
        description="train rows whose (task, input) is also in a test split: count them, remove them, or stop",
    )
    near_duplicate_rows: int = content(
        2000, ge=0, description="rows of each split in which near duplicates are looked for; 0 = not at all"
    )
    bucket_bytes: int = operational(
        8 << 20, ge=1, description="raw bytes (compressed as they are) of one unit of work; changes no row"
    )
    core_rows: int = operational(
        16_000_000,
        ge=0,
        description="Sequential_Recommendation: ratings of a category that one process peels to the "
        "5-core in memory, 40 bytes each; more are peeled in turns of many",
    )
    num_workers: int | None = operational(
        None, ge=1, description="units at work at once; null = as many as the cluster has room for"
    )


class OwnDataDefaults(Frozen):
    """What rows of users' own data get where they have no such column."""

    task: str | None = content(None, description="task of the rows: one of the ten, or a name of your own")
    split: Literal["train", "val", "test"] | None = content(None, description="split of the rows")
    setting: str | None = content(None, description="setting of the rows")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _known_settings((self.setting,) if self.setting else None)
        return self


class IngestConfig(JobConfig):
    """`python -m jobs.ingest`: samples from the ECInstruct release or from users' own instruction data."""

    release: str = location(description="dataset.json of the release; or own data as .jsonl or .parquet")
    qpr_labels: str | None = location(None, description="qpr_labels.json of the release; null = no NDCG for QPR")
    on_bad_row: Literal["fail", "quarantine"] = content(
        "fail", description="a row with an unknown task, split or setting: stop, or write it to quarantine/ and go on"
    )
    defaults: OwnDataDefaults = content(OwnDataDefaults(), description="own data: values of columns that it lacks")
    max_rows_per_file: int = content(50_000, ge=1, description="rows of one Parquet file")


class FetchConfig(JobConfig):
    """`python -m jobs.fetch`: raw sources and the release, brought to raw_dir."""

    raw_dir: str = location(description="directory or URL that the files are brought to, e.g. s3://BUCKET/raw")
    output_dir: str = location("", description="not used here: the files go to raw_dir")
    sources: tuple[str, ...] | None = content(
        None, description="what to fetch: sources, or names and directories below raw_dir; null = all but the optional"
    )
    addresses: str | None = location(None, description="upstream addresses (YAML); null = the project's own")
    chunk_bytes: int = operational(64 * 1024 * 1024, ge=1, description="bytes of one range: what a kill can lose")
    max_connections: int = operational(8, ge=1, description="most ranges fetched at once, over the whole cluster")
    max_retries: int = operational(5, ge=0, description="tries in a row without a new byte, after the first")
    backoff_seconds: float = operational(1.0, ge=0, description="wait before the first retry; doubles, up to 60 s")
    timeout_seconds: float = operational(60.0, gt=0, description="silence after which a connection is given up")

    @model_validator(mode="after")
    def _only_raw_dir(self) -> Self:
        if self.output_dir:
            raise ValueError(f"output_dir={self.output_dir}: fetch writes to raw_dir, leave output_dir out")
        if self.overwrite:
            raise ValueError("overwrite: fetch never replaces a file; remove those that are to be fetched again")
        return self


PromptFormat = Literal["alpaca", "mistral", "chat_template"]


class PromptConfig(JobConfig):
    """Fields that make a prompt; preprocess and predict must agree on them."""

    prompt_format: PromptFormat = content("alpaca", description="wire format of the prompt")
    max_length: int = content(2048, ge=16, description="tokens of prompt and answer together")
    max_answer_tokens: int = content(100, ge=1, description="tokens of max_length kept free for the answer")

    @model_validator(mode="after")
    def _room_for_the_prompt(self) -> Self:
        if self.max_answer_tokens >= self.max_length:
            raise ValueError(
                f"max_answer_tokens={self.max_answer_tokens} leaves no room for a prompt in "
                f"max_length={self.max_length}: raise max_length or lower max_answer_tokens"
            )
        return self


class PreprocessConfig(PromptConfig):
    """`python -m jobs.preprocess`: training rows (token ids) from samples."""

    samples_dir: str = location(description="samples of build or ingest")
    base_model: str = location(description="model whose tokenizer is used: path, s3://, package:// or hub name")
    base_model_revision: str | None = content(None, description="revision on the hub; null = main")
    settings: tuple[str, ...] = content(
        (PAPER_TRAINING_SETTING,), min_length=1, description="settings to train on; more than one repeats examples"
    )
    tasks: tuple[str, ...] | None = content(None, description="tasks to train on; null = all in the samples")
    num_samples: int | None = content(None, ge=1, description="training samples in all, drawn by hash; null = all")
    num_val_samples: int | None = content(None, ge=1, description="validation samples in all; null = all")
    mixture: dict[str, float] | None = content(
        None, description="share of num_samples by task, e.g. {Sentiment_Analysis: 2}; null = as in the samples"
    )
    rows_per_shard: int = content(4096, ge=1, description="samples tokenized by one task, rows of one file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _known_settings(self.settings)
        if self.mixture is not None and self.num_samples is None:
            raise ValueError("mixture needs num_samples: the number of training samples to share out")
        if self.mixture is not None and (min(self.mixture.values(), default=0) < 0 or not sum(self.mixture.values())):
            raise ValueError(f"mixture={self.mixture}: weights must not be negative, and one must be above 0")
        return self


class LoraSettings(Frozen):
    """Low-rank adapters; defaults are the paper's (appendix on training)."""

    r: int = content(16, ge=1, description="rank")
    alpha: int = content(16, ge=1, description="scale: updates are multiplied by alpha / r")
    dropout: float = content(0.1, ge=0, lt=1, description="dropout before the adapter")
    target_modules: tuple[str, ...] | None = content(
        None, description="names of linear layers to adapt; null = all linear layers and lm_head"
    )


class OptimizerSettings(Frozen):
    """AdamW and its schedule; defaults are the paper's."""

    learning_rate: float = content(1e-4, gt=0, description="peak learning rate")
    weight_decay: float = content(0.0, ge=0, description="decoupled weight decay")
    betas: tuple[float, float] = content((0.9, 0.999), description="AdamW betas")
    eps: float = content(1e-8, gt=0, description="AdamW epsilon")
    max_grad_norm: float = content(1.0, gt=0, description="gradients are clipped to this norm")
    warmup_ratio: float = content(0.05, ge=0, le=1, description="share of all steps with a rising learning rate")
    schedule: Literal["cosine", "linear", "constant"] = content("cosine", description="shape after the warm-up")


class DeepSpeedSettings(Frozen):
    """How the training state is laid out over workers."""

    stage: Literal[0, 1, 2, 3] = operational(2, description="ZeRO: 1 shards optimizer state, 2 gradients, 3 weights")
    offload_optimizer: bool = operational(False, description="keep optimizer state in host memory (GPU only)")


class FinetuneConfig(JobConfig):
    """`python -m jobs.finetune`: a tuned model from training rows."""

    rows_dir: str = location(description="training rows of preprocess")
    base_model: str = location(description="model to tune: path, s3://, package:// or hub name")
    base_model_revision: str | None = content(None, description="revision on the hub; null = main")
    method: Literal["lora", "full"] = content("lora", description="adapters, or all weights")
    lora: LoraSettings = content(LoraSettings(), description="adapter settings (method=lora)")
    optimizer: OptimizerSettings = content(OptimizerSettings(), description="optimizer and schedule")
    num_epochs: int = content(3, ge=1, description="passes over the training rows")
    max_steps: int | None = content(None, ge=1, description="stop after so many optimizer steps; null = num_epochs")
    global_batch_size: int = content(128, ge=1, description="samples of one optimizer step, over all workers")
    loss_normalization: Literal["sample", "token"] = content(
        "sample", description="each sample counts alike (the paper's), or each answer token"
    )
    precision: Literal["auto", "fp32", "bf16"] = content(
        "auto", description="auto = bf16 on a GPU that has it, else fp32"
    )
    num_workers: int = operational(1, ge=1, description="Ray Train workers; one GPU each where use_gpu")
    use_gpu: bool = operational(False, description="give every worker a GPU")
    cpus_per_worker: int = operational(1, ge=1, description="CPUs of a worker, and its torch threads without a GPU")
    micro_batch_size: int = operational(8, ge=1, description="most samples of one forward pass")
    gradient_checkpointing: bool = operational(False, description="recompute activations: less memory, slower")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = operational(
        "auto", description="auto = flash attention where the worker has it, else sdpa"
    )
    deepspeed: DeepSpeedSettings = operational(DeepSpeedSettings(), description="DeepSpeed settings")
    eval_every_steps: int | None = content(None, ge=1, description="steps between validations; null = once an epoch")
    checkpoint_every_steps: int | None = operational(
        None, ge=1, description="steps between checkpoints; null = at each validation"
    )
    keep_checkpoints: int = operational(2, ge=1, description="newest checkpoints to keep")
    log_every_steps: int = operational(10, ge=1, description="steps between log lines")
    max_failures: int = operational(3, ge=0, description="times that lost workers are started again")
    export_merged: bool = content(False, description="also write the base model with the adapter merged in")


class PredictConfig(PromptConfig):
    """`python -m jobs.predict`: answers to test samples."""

    samples_dir: str = location(description="samples of build or ingest")
    model: str = location(description="model that answers: path, s3://, package:// or hub name")
    adapter: str | None = location(None, description="peft adapter on the model; null = none")
    model_revision: str | None = content(None, description="revision on the hub; null = main")
    engine: Literal["transformers", "fake"] = content("transformers", description="what runs the model")
    decoding: Literal["greedy", "paper", "choice"] = content(
        "greedy", description="greedy; the paper's sampling; or closed answers compared by probability"
    )
    settings: tuple[str, ...] | None = content(None, description="settings to answer; null = all in the samples")
    tasks: tuple[str, ...] | None = content(None, description="tasks to answer; null = all in the samples")
    split: Literal["train", "val", "test"] = content("test", description="split to answer")
    limit: int | None = content(None, ge=1, description="first rows of each (setting, task); null = all")
    rows_per_shard: int = content(256, ge=1, description="rows of one unit of work, and of one Parquet file")
    precision: Literal["auto", "fp32", "bf16"] = content(
        "auto", description="auto = bf16 on a GPU that has it, else fp32"
    )
    max_batch_size: int = operational(16, ge=1, description="most prompts answered at once by one actor")
    num_actors: int | None = operational(
        None, ge=1, description="copies of the model at work at once; null = as many as the cluster has room for"
    )
    use_gpu: bool = operational(False, description="give every actor a GPU")
    cpus_per_actor: int = operational(1, ge=1, description="CPUs of an actor, and its torch threads without a GPU")
    max_error_share: float = operational(0.0, ge=0, le=1, description="share of failed rows that is still a success")
    retry_errors: bool = operational(False, description="answer again the parts that have failed rows")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _known_settings(self.settings)
        return self


class EvaluateConfig(JobConfig):
    """`python -m jobs.evaluate`: scores, metrics and a report from predictions."""

    predictions_dirs: tuple[str, ...] = location((), description="predictions to score, side by side")
    predictions_dir: str | None = location(None, description="the same for one")
    samples_dir: str = location(description="the samples that were answered")
    training_dirs: tuple[str, ...] = location((), description="finetune outputs whose loss curves the report shows")
    num_resamples: int = content(2000, ge=0, description="bootstrap resamples of the 95 % intervals; 0 = no intervals")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.all_predictions:
            raise ValueError("give predictions_dir, or predictions_dirs with at least one directory")
        return self

    @property
    def all_predictions(self) -> tuple[str, ...]:
        """The prediction directories, however they were given."""
        return (*self.predictions_dirs, *((self.predictions_dir,) if self.predictions_dir else ()))


class StageConfig(Frozen):
    """One stage of a pipeline."""

    job: Literal["build", "ingest", "preprocess", "finetune", "predict", "evaluate"] = content(
        description="the job that runs"
    )
    needs: tuple[str, ...] = content((), description="stages whose outputs it reads; they are wired in by kind")
    config: dict[str, Any] = content(default_factory=dict, description="the job's own fields")


class PipelineConfig(JobConfig):
    """`python -m jobs.pipeline`: stages as one graph, each skipped when it is done.

    Each stage writes to `output_dir/<stage name>`.
    """

    stages: dict[str, StageConfig] = content(min_length=1, description="the stages by name")
    defaults: dict[str, Any] = content(
        default_factory=dict, description="values for every stage that has the field and does not set it"
    )

    @model_validator(mode="after")
    def _needs_exist(self) -> Self:
        for name, stage in self.stages.items():
            for need in stage.needs:
                if need not in self.stages:
                    raise ValueError(f"stage {name!r} needs {need!r}, which is none of {', '.join(self.stages)}")
        return self


def content_of(config: BaseModel) -> dict[str, Any]:
    """Return the fields of `config` that change what the job writes, nested as they are, ready for JSON."""
    result: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra
        effect = extra.get("effect") if isinstance(extra, dict) else None
        assert effect is not None, f"{type(config).__name__}.{name} must say what it does to the output"
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            nested = content_of(value)
            if nested:
                result[name] = nested
        elif effect == Effect.CONTENT:
            result[name] = config.model_dump(mode="json", include={name})[name]
    return result
