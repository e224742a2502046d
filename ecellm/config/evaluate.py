"""The config of evaluate."""

from typing import Self

from pydantic import model_validator

from ecellm.config.base import Frozen, JobConfig, check_settings, content, location, operational


class StudyArm(Frozen):
    """One arm of a study: what was varied, by the answers that came of it."""

    name: str = content(min_length=1, description="what the report calls it")
    runs: tuple[int, ...] = content(
        min_length=1, description="numbers of its predictions directories, from 0; each task is answered in one of them"
    )
    conditions: dict[str, str] = content(
        min_length=1,
        description="what it is tested under, and the setting that tests it: {IND: IND_Diverse_Instruction}",
    )
    x: float | None = content(None, gt=0, description="its place on the study's axis; null = it has none")
    against: str | None = content(
        None,
        description="arm that it is compared with, on the same examples under the same condition; null = with none",
    )


class Study(Frozen):
    """Arms that are compared with each other; `jobs.study` writes them."""

    name: str = content(min_length=1, description="what the report calls it")
    axis: str | None = content(None, description="what x is, for a curve; null = there is no curve")
    arms: tuple[StudyArm, ...] = content(min_length=1, description="what is compared")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name}: two arms have one name")
        for arm in self.arms:
            check_settings(tuple(arm.conditions.values()))
            if arm.against is not None and arm.against not in set(names) - {arm.name}:
                raise ValueError(f"study {self.name}: arm {arm.name} is against {arm.against}, which is no other arm")
            if (self.axis is None) != (arm.x is None):
                raise ValueError(f"study {self.name}: all arms have an x where there is an axis, and none where not")
        if self.axis is not None and len({arm.x for arm in self.arms}) < len(self.arms):
            raise ValueError(f"study {self.name}: two arms have one x")
        return self


class EvaluateConfig(JobConfig):
    """`python -m jobs.evaluate`: scores, metrics and a report from predictions."""

    predictions_dirs: tuple[str, ...] = location((), description="predictions to score, side by side")
    predictions_dir: str | None = location(None, description="the same for one")
    samples_dir: str = location(description="the samples that were answered")
    training_dirs: tuple[str, ...] = location((), description="finetune outputs whose loss curves the report shows")
    columns: tuple[int, ...] | None = content(
        None,
        min_length=1,
        description="numbers of the predictions directories, from 0, that are columns of the report, the first the "
        "baseline of the others; null = all but task-specific models, or all if there are no others",
    )
    task_specific: tuple[int, ...] = content(
        (),
        description="numbers of the predictions directories, from 0, whose models are made for one task each; those of "
        "jobs.baseline are so without being named",
    )
    studies: tuple[Study, ...] = content((), description="arms that are compared with each other")
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
        if len({study.name for study in self.studies}) < len(self.studies):
            raise ValueError("two studies have one name")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names a predictions directory twice")
        numbers = {number for study in self.studies for arm in study.arms for number in arm.runs}
        for number in {*numbers, *(self.columns or ()), *self.task_specific}:
            if not 0 <= number < len(self.all_predictions):
                raise ValueError(f"there is no predictions directory number {number}: they count from 0")
        return self

    @property
    def all_predictions(self) -> tuple[str, ...]:
        """The prediction directories, however they were given."""
        return (*self.predictions_dirs, *((self.predictions_dir,) if self.predictions_dir else ()))
