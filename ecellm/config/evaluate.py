"""The config of evaluate."""

from typing import Self

from pydantic import model_validator

from ecellm.config.base import JobConfig, content, location


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
