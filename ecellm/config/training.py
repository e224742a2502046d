"""The config of finetune."""

from typing import Literal, Self

from pydantic import model_validator

from ecellm.config.base import Frozen, JobConfig, content, location, operational
from ecellm.config.prompts import TRUST_REMOTE_CODE


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
    trust_remote_code: bool = content(False, description=TRUST_REMOTE_CODE)
    method: Literal["lora", "qlora", "full"] = content(
        "lora", description="adapters; adapters on a base in 4 bits (GPU only); or all weights"
    )
    lora: LoraSettings = content(LoraSettings(), description="adapter settings (method=lora, qlora)")
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
    min_workers: int | None = operational(
        None, ge=1, description="go on with so few if the cluster has no room for num_workers; null = wait for all"
    )
    use_gpu: bool = operational(False, description="give every worker a GPU")
    cpus_per_worker: int = operational(1, ge=1, description="CPUs of a worker, and its torch threads without a GPU")
    micro_batch_size: int = operational(8, ge=1, description="most samples of one forward pass")
    micro_batch_tokens: int | None = operational(
        None, ge=1, description="most token positions of one forward pass, padding included; null = no limit"
    )
    packing: bool = operational(
        False,
        description="put the samples of a forward pass one behind the other, without padding, each seeing only itself: "
        "pays with flash attention",
    )
    gradient_checkpointing: bool = operational(False, description="recompute activations: less memory, slower")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = operational(
        "auto", description="auto = flash attention where the worker has it, else sdpa"
    )
    deepspeed: DeepSpeedSettings = operational(DeepSpeedSettings(), description="DeepSpeed settings")
    eval_every_steps: int | None = content(None, ge=1, description="steps between validations; null = once an epoch")
    checkpoint_every_steps: int | None = operational(
        None, ge=1, description="steps between checkpoints; null = at each validation"
    )
    keep_checkpoints: int = operational(2, ge=1, description="newest checkpoints to keep; the best is kept too")
    early_stopping_patience: int | None = content(
        None, ge=1, description="stop after so many validations without a better loss; null = never"
    )
    num_scored_samples: int = operational(
        64, ge=0, description="validation samples whose answers are generated and scored at each validation; 0 = none"
    )
    log_every_steps: int = operational(10, ge=1, description="steps between log lines")
    max_failures: int = operational(3, ge=0, description="times that lost workers are started again")
    tensorboard: bool = operational(False, description="write the log for TensorBoard too, into tensorboard/")
    mlflow_uri: str | None = operational(None, description="MLflow tracking server to log to as well; null = none")
    smoke: bool = operational(
        False, description="before training, two of the longest batches through a step, a checkpoint and its restore"
    )
    gpu_memory_gib: float | None = operational(
        None, gt=0, description="memory of one GPU, for the estimate before training; null = asked of a worker"
    )
    export_merged: bool = content(False, description="also write the base model with the adapter merged in")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.packing and self.micro_batch_tokens is None:
            raise ValueError("packing needs micro_batch_tokens: the length of a packed row, e.g. 2048")
        if self.method == "qlora" and not self.use_gpu:
            raise ValueError("method=qlora needs use_gpu=true: its 4-bit layers run on GPUs alone")
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers={self.min_workers} is more than num_workers={self.num_workers}")
        return self

    @property
    def uses_adapters(self) -> bool:
        """Whether LoRA adapters are trained, the base model's weights staying as they are."""
        return self.method != "full"
