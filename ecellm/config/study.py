"""The config of study: a pipeline whose stages are made from what is to be compared."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ecellm.config.base import Frozen, content, operational
from ecellm.config.pipeline import PipelineConfig

_DOMAINS = ("IND", "OOD")


class Generalist(Frozen):
    """One model tuned on all tasks against one model for each task."""

    kind: Literal["generalist"] = content(description="one model for all tasks against one for each")
    tasks: tuple[str, ...] | None = content(None, min_length=1, description="tasks that get their own; null = all ten")


class DataScaling(Frozen):
    """Models tuned on more and more samples."""

    kind: Literal["data_scaling"] = content(description="more and more training samples")
    num_samples: tuple[Annotated[int, Field(ge=1)] | None, ...] = content(
        (1_000, 10_000, 47_000, None), min_length=2, description="training samples of each; null = all"
    )


class Instructions(Frozen):
    """A single instruction for each task against diverse ones, on instructions that were seen and on unseen ones."""

    kind: Literal["instructions"] = content(description="a single instruction against diverse ones")


class BaseModels(Frozen):
    """Several base models, tuned alike."""

    kind: Literal["base_models"] = content(description="several base models, tuned alike")
    base_models: tuple[str, ...] = content(min_length=2, description="the models; the others are against the first")


class Shots(Frozen):
    """Prompts without and with an example, of the tuned model and of the same untuned."""

    kind: Literal["shots"] = content(description="0-shot against 1-shot, tuned and untuned")


class ArmSpec(Frozen):
    """One arm of a study of the user's own."""

    base_model: str | None = content(None, description="base model; null = that of defaults")
    preprocess: dict[str, Any] = content(default_factory=dict, description="fields of its preprocess")
    finetune: dict[str, Any] | None = content(
        default_factory=dict, description="fields of its finetune; null = the base model is not tuned"
    )
    predict: dict[str, Any] = content(default_factory=dict, description="fields of its predict")
    conditions: dict[str, str] | None = content(
        None, min_length=1, description="what it is tested under, and in which setting; null = IND and OOD, diverse"
    )
    x: float | None = content(None, gt=0, description="its place on the axis")
    against: str | None = content(None, description="arm that it is compared with; null = with none")


class OwnArms(Frozen):
    """A study of the user's own."""

    kind: Literal["arms"] = content(description="arms of your own")
    axis: str | None = content(None, description="what x is, for a curve; null = there is no curve")
    arms: dict[str, ArmSpec] = content(min_length=1, description="the arms by name")


StudySpec = Annotated[
    Generalist | DataScaling | Instructions | BaseModels | Shots | OwnArms, Field(discriminator="kind")
]


class Estimates(Frozen):
    """How fast jobs are, until one of their kind is done here and says it."""

    trained_samples_per_second: float | None = operational(
        None, gt=0, description="samples that a finetune job learns from in a second, all workers together"
    )
    answered_rows_per_second: float | None = operational(
        None, gt=0, description="rows that a predict job answers in a second, all actors together"
    )


class StudyConfig(PipelineConfig):
    """`python -m jobs.study`: studies as one grid of pipeline stages, which share what they have in common.

    `stages` must have one named `samples`; what other stages there make is scored beside the studies' own.
    """

    studies: dict[str, StudySpec] = content(min_length=1, description="the studies by name")
    preprocess: dict[str, Any] = content(default_factory=dict, description="fields of every preprocess of the grid")
    finetune: dict[str, Any] = content(default_factory=dict, description="fields of every finetune of the grid")
    predict: dict[str, Any] = content(default_factory=dict, description="fields of every predict of the grid")
    evaluate: dict[str, Any] = content(default_factory=dict, description="fields of the evaluate at its end")
    domains: tuple[Literal["IND", "OOD"], ...] = content(_DOMAINS, min_length=1, description="domains that are tested")
    max_stages: int = operational(8, ge=1, description="most stages at work at once, where the cluster has room")
    estimates: Estimates = operational(Estimates(), description="assumptions for the estimated hours")
    only: str | None = operational(None, description="carry out this stage alone; null = all that are not done")

    @model_validator(mode="after")
    def _has_samples(self) -> Self:
        samples = self.stages.get("samples")
        if samples is None or samples.job not in {"build", "ingest"}:
            raise ValueError("stages must have one named samples, with job: build or job: ingest")
        return self
