"""The config of baseline: models that are made for one task each."""

from typing import Literal, Self

from pydantic import model_validator

from ecellm.config.base import Frozen, JobConfig, check_settings, content, location, operational
from ecellm.settings import PAPER_TRAINING_SETTING


class SequenceModelSettings(Frozen):
    """The size of a model over sequences of items, and how it is trained (kind=gsasrec)."""

    hidden_size: int = content(64, ge=2, description="width")
    num_layers: int = content(2, ge=1, description="transformer layers")
    num_heads: int = content(2, ge=1, description="attention heads")
    dropout: float = content(0.2, ge=0, lt=1, description="dropout")
    num_negatives: int = content(64, ge=1, description="items drawn against each purchase")
    calibration: float = content(
        0.75, ge=0, le=1, description="t of the gBCE loss: 0 = plain BCE, 1 = scores are calibrated fully"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size={self.hidden_size} must be a multiple of num_heads={self.num_heads}")
        return self


class BaselineConfig(JobConfig):
    """`python -m jobs.baseline`: task-specific models, one for each task, and their answers to its test rows."""

    samples_dir: str = location(description="samples of build or ingest")
    kind: Literal["encoder", "span", "tagger", "recformer", "gsasrec", "rgcn"] = content(
        description="what is trained: encoder = classes and rankings of texts; span, tagger = extraction; "
        "recformer, gsasrec = the next purchase; rgcn = relations of products"
    )
    tasks: tuple[str, ...] | None = content(
        None, description="tasks, a model for each; null = those in the samples that this kind can answer"
    )
    encoder: str | None = location(None, description="encoder to start from: path, s3://, package:// or hub name")
    encoder_revision: str | None = content(None, description="its revision on the hub; null = main")
    name: str | None = content(None, description="what reports call it; null = kind and base model")
    train_setting: str = content(
        PAPER_TRAINING_SETTING, description="setting whose train and val rows are learned from"
    )
    settings: tuple[str, ...] | None = content(None, description="settings to answer; null = all in the samples")
    num_train_samples: int | None = content(None, ge=1, description="first training rows of each task; null = all")
    limit: int | None = content(None, ge=1, description="first test rows of each (setting, task); null = all")
    num_epochs: int = content(3, ge=1, description="passes over the training rows")
    global_batch_size: int = content(32, ge=1, description="rows of one step, of all workers together")
    learning_rate: float = content(5e-5, gt=0, description="highest learning rate of AdamW")
    warmup_share: float = content(0.1, ge=0, lt=1, description="share of the steps in which it rises, before it falls")
    weight_decay: float = content(0.01, ge=0, description="of AdamW")
    class_weights: Literal["none", "balanced"] = content(
        "none",
        description="kind=encoder: balanced = each class counts alike, however rare (for macro-averaged metrics)",
    )
    max_length: int = content(256, ge=8, description="most tokens of a text pair; longer ones are cut")
    sequence: SequenceModelSettings = content(SequenceModelSettings(), description="the model of kind=gsasrec")
    num_workers: int = operational(1, ge=1, description="training workers")
    use_gpu: bool = operational(False, description="give every worker and actor a GPU")
    cpus_per_worker: int = operational(1, ge=1, description="CPUs of a worker, and its torch threads without a GPU")
    max_failures: int = operational(3, ge=0, description="times that training goes on after a worker is lost")
    rows_per_shard: int = content(1024, ge=1, description="rows of one unit of answering, and of one Parquet file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_settings((self.train_setting, *(self.settings or ())))
        starts_from_nothing = self.kind in {"gsasrec", "rgcn"}
        if starts_from_nothing == (self.encoder is not None):
            raise ValueError(
                f"kind={self.kind} starts from nothing: leave encoder out"
                if starts_from_nothing
                else f"kind={self.kind} needs encoder=MODEL to start from"
            )
        return self

    @property
    def shown_name(self) -> str:
        """What reports call the model."""
        base = f" {self.encoder.rstrip('/').rsplit('/', 1)[-1]}" if self.encoder else ""
        return self.name or f"{self.kind}{base}"
