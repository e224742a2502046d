"""Config of the pipeline: stages as one graph."""

from typing import Any, Literal, Self

from pydantic import model_validator

from ecellm.config.base import Frozen, JobConfig, content


class StageConfig(Frozen):
    """One stage of a pipeline."""

    job: Literal["build", "ingest", "preprocess", "finetune", "predict", "baseline", "evaluate"] = content(
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
