"""What a study compares: each of its arms is one or several models, and where they are tested.

Sources: eCeLLM (arXiv 2402.08831) compares a generalist model with models tuned on one task each, grows its training
data from 1,000 samples to all, tunes on one instruction for each task or on diverse ones and tests both on instructions
that they have seen and on an unseen one, tunes six base models, and asks models with and without an example.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecellm.config.study import (
    ArmSpec,
    BaseModels,
    DataScaling,
    Generalist,
    Instructions,
    OwnArms,
    Shots,
    StudySpec,
)
from ecellm.tasks import TASKS, Task, task_named

GENERALIST, UNTUNED = "generalist", "untuned"
NUM_TRAINING_SAMPLES = "training samples"


@dataclass(frozen=True)
class Model:
    """One model of the grid.

    Attributes:
        name: of its stages.
        base_model: what is tuned; None for the one that the recipe's defaults name.
        preprocess: fields of its preprocess, over those of the recipe.
        finetune: fields of its finetune; None for a model that is not tuned.
        predict: fields of its predict.
    """

    name: str
    base_model: str | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    finetune: Mapping[str, Any] | None = field(default_factory=dict)
    predict: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One arm of a study.

    Attributes:
        name: what reports call it.
        models: what answers; of several, each answers tasks of its own.
        conditions: what it is tested under, and the setting that tests it.
        x: its place on the axis; None where the number of its training rows is, or without an axis.
        against: the arm that it is compared with; None for none.
    """

    name: str
    models: tuple[Model, ...]
    conditions: Mapping[str, str]
    x: float | None = None
    against: str | None = None


@dataclass(frozen=True)
class Design:
    """A study's axis, None without one, and its arms."""

    axis: str | None
    arms: tuple[Arm, ...]


def design_of(name: str, spec: StudySpec, domains: Sequence[str]) -> Design:
    """Return the design of a study.

    Args:
        name: of the study, which models of its own are named after.
        spec: as the recipe has it.
        domains: IND, OOD or both.
    """
    diverse = {domain: f"{domain}_Diverse_Instruction" for domain in domains}
    match spec:
        case Generalist():
            return Design(None, _generalist(spec, diverse))
        case DataScaling():
            return Design(NUM_TRAINING_SAMPLES, _data_scaling(spec, diverse))
        case Instructions():
            return Design(None, _instructions(domains))
        case BaseModels():
            return Design(None, _base_models(spec, diverse))
        case Shots():
            return Design(None, _shots(diverse))
        case OwnArms():
            return Design(spec.axis, tuple(_own_arm(name, arm, own, diverse) for arm, own in spec.arms.items()))


def _generalist(spec: Generalist, conditions: Mapping[str, str]) -> tuple[Arm, ...]:
    tasks: Iterable[Task] = TASKS if spec.tasks is None else dict.fromkeys(task_named(name) for name in spec.tasks)
    one_each = tuple(
        Model(f"only-{task.short_name.lower()}", preprocess={"tasks": [task.name]}, predict={"tasks": [task.name]})
        for task in tasks
    )
    return (
        Arm("one for all tasks", (Model(GENERALIST),), conditions),
        Arm("one for each task", one_each, conditions, against="one for all tasks"),
    )


def _data_scaling(spec: DataScaling, conditions: Mapping[str, str]) -> tuple[Arm, ...]:
    numbers = sorted(set(spec.num_samples), key=lambda number: (number is None, number or 0))
    names = ["all" if number is None else f"{number:,}" for number in numbers]
    arms = []
    for number, name in zip(numbers, names, strict=True):
        model = Model(GENERALIST) if number is None else Model(f"n{number}", preprocess={"num_samples": number})
        arms.append(Arm(name, (model,), conditions, against=None if name == names[-1] else names[-1]))
    return tuple(arms)


def _instructions(domains: Sequence[str]) -> tuple[Arm, ...]:
    def conditions(kind: str) -> dict[str, str]:
        seen = {f"{domain} seen": f"{domain}_{kind}_Instruction" for domain in domains}
        return seen | {f"{domain} unseen": f"{domain}_Unseen_Instruction" for domain in domains}

    single = Model("single", preprocess={"settings": ["IND_Single_Instruction"]})
    return (
        Arm("single instruction", (single,), conditions("Single")),
        Arm("diverse instructions", (Model(GENERALIST),), conditions("Diverse"), against="single instruction"),
    )


def _base_models(spec: BaseModels, conditions: Mapping[str, str]) -> tuple[Arm, ...]:
    names = [path.rstrip("/").rsplit("/", 1)[-1] for path in spec.base_models]
    return tuple(
        Arm(
            name,
            (Model(f"base-{name}", base_model=path),),
            conditions,
            against=None if number == 0 else names[0],
        )
        for number, (name, path) in enumerate(zip(names, spec.base_models, strict=True))
    )


def _shots(conditions: Mapping[str, str]) -> tuple[Arm, ...]:
    with_example = {domain: f"{setting}_1-shot" for domain, setting in conditions.items()}
    tuned, untuned = (Model(GENERALIST),), (Model(UNTUNED, finetune=None),)
    return (
        Arm("untuned, 0-shot", untuned, conditions),
        Arm("untuned, 1-shot", untuned, with_example, against="untuned, 0-shot"),
        Arm("tuned, 0-shot", tuned, conditions, against="untuned, 0-shot"),
        Arm("tuned, 1-shot", tuned, with_example, against="tuned, 0-shot"),
    )


def _own_arm(study: str, name: str, spec: ArmSpec, conditions: Mapping[str, str]) -> Arm:
    model = Model(
        re.sub(r"[^\w.-]+", "-", f"{study}-{name}"), spec.base_model, spec.preprocess, spec.finetune, spec.predict
    )
    return Arm(name, (model,), spec.conditions or conditions, spec.x, spec.against)
