"""The config of evaluate."""

from typing import Self

from pydantic import model_validator

from ecellm.config.base import JobConfig, content, location, operational


class EvaluateConfig(JobConfig):
    """`python -m jobs.evaluate`: scores, metrics and a report from predictions."""

    predictions_dirs: tuple[str, ...] = location((), description="predictions to score, side by side")
    predictions_dir: str | None = location(None, description="the same for one")
    samples_dir: str = location(description="the samples that were answered")
    training_dirs: tuple[str, ...] = location((), description="finetune outputs whose loss curves the report shows")
    num_resamples: int = content(
        10_000, ge=0, description="bootstrap resamples of the 95 % intervals; 0 = no intervals"
    )
    bertscore_model: str | None = location(
        None,
        description="encoder of BERTScore: path, s3:// or hub name; roberta-large in the paper; null = no BERTScore",
    )
    bertscore_model_revision: str | None = content(None, description="its revision on the hub; null = main")
    bertscore_layer: int | None = content(
        None, ge=1, description="layer whose embeddings are compared; null = the usual one of a known encoder"
    )
    bleurt_model: str | None = location(
        None, description="BLEURT-20 checkpoint: path, s3:// or hub name; BLEURT-20-D12 in the paper; null = no BLEURT"
    )
    bleurt_model_revision: str | None = content(None, description="its revision on the hub; null = main")
    similarity_batch_size: int | None = operational(
        None,
        ge=1,
        description="most texts that a model reads at once, fewer where these are long; null = 64 on a GPU, else 8",
    )
    similarity_actors: int | None = operational(
        None, ge=1, description="copies of both models at work at once; null = as many as there is room for"
    )
    similarity_use_gpu: bool = operational(
        False, description="give every copy of BERTScore's and BLEURT's models a GPU"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.all_predictions:
            raise ValueError("give predictions_dir, or predictions_dirs with at least one directory")
        return self

    @property
    def all_predictions(self) -> tuple[str, ...]:
        """The prediction directories, however they were given."""
        return (*self.predictions_dirs, *((self.predictions_dir,) if self.predictions_dir else ()))
