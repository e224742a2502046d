"""From studies to one graph of stages, in which what several models have in common is made once.

    stages of the recipe           samples, and what is scored beside the studies' own answers
    rows/MODEL                     preprocess
    tuned/MODEL                    finetune
    answers/MODEL                  predict
    scores                         evaluate: all answers, all studies

Two models with the same training rows share them, two studies with the same model share it and its answers. Stages are
named after the first model that needs them, in the order of the recipe.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ecellm.config import PreprocessConfig, content_of
from ecellm.config.pipeline import PipelineConfig, StageConfig
from ecellm.config.study import StudyConfig
from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_of
from ecellm.pipeline import Node
from ecellm.presets import merged
from ecellm.recipe import validate
from ecellm.studies.arms import GENERALIST, NUM_TRAINING_SAMPLES, UNTUNED, Design, Model, design_of
from ecellm.studies.estimate import SampleCounts, training_samples

SCORES = "scores"
CountRows = Callable[[str], int | None]


@dataclass
class Grid:
    """The stages of a study, while they are gathered.

    Attributes:
        stages: all stages by name.
        designs: the studies.
        answers: the stage that answers, by the name of the model.
        rows: the stage that makes its training rows, by the name of the model; none for untuned ones.
    """

    stages: dict[str, StageConfig]
    designs: Mapping[str, Design]
    answers: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, stage: StageConfig) -> str:
        """Add a stage unless there is one that does the same; return its name."""
        known = self._known.get(_identity(stage))
        if known is not None:
            return known
        if name in self.stages:
            raise InputError(f"stages: {name!r} is one of the study's own stages; give yours another name")
        self.stages[name] = stage
        self.know(name, stage)
        return name

    def know(self, name: str, stage: StageConfig) -> None:
        """Let later stages that do the same be this one."""
        self._known.setdefault(_identity(stage), name)

    @property
    def predictions(self) -> list[str]:
        """The stages that answer: the recipe's own first."""
        return [name for name, stage in self.stages.items() if stage.job in {"predict", "baseline"}]


def _identity(stage: StageConfig) -> str:
    return fingerprint_of(stage.model_dump(mode="json"))


def make_grid(config: StudyConfig) -> Grid:
    """Return all stages of the studies but the last, which scores them.

    Raises:
        InputError: two of them would have one name, or a task is unknown.
    """
    named = {name: design_of(name, spec, config.domains) for name, spec in config.studies.items()}
    # Other studies' models that are these are called so too, whichever study comes first.
    models = {_content(model): model for model in (Model(GENERALIST), Model(UNTUNED, finetune=None))}
    designs = {name: _with_shared_models(design, config, models) for name, design in named.items()}
    grid = Grid(dict(config.stages), designs)
    for name, stage in config.stages.items():
        grid.know(name, stage)
    settings = _settings_of(designs)
    for model in models.values():
        if model.name in settings:
            _add_model(grid, config, model, settings[model.name])
    return grid


def _content(model: Model) -> str:
    """Return what two models share that are the same but for the name."""
    return fingerprint_of(asdict(replace(model, name="")))


def _with_shared_models(design: Design, config: StudyConfig, models: dict[str, Model]) -> Design:
    """Return a design whose models are those of `models` where they are the same but for the name; new ones are added.

    Raises:
        InputError: two models that differ have one name.
    """

    def shared(model: Model) -> Model:
        if model.base_model == config.defaults.get("base_model"):
            model = replace(model, base_model=None)
        found = models.setdefault(_content(model), model)
        if any(other.name == found.name and other is not found for other in models.values()):
            raise InputError(f"two different models would be named {found.name!r}: give one another name")
        return found

    arms = (replace(arm, models=tuple(map(shared, arm.models))) for arm in design.arms)
    return replace(design, arms=tuple(arms))


def _settings_of(designs: Mapping[str, Design]) -> dict[str, list[str]]:
    """Return the settings that each model is tested in, by any study, sorted."""
    settings: dict[str, set[str]] = {}
    for design in designs.values():
        for arm in design.arms:
            for model in arm.models:
                settings.setdefault(model.name, set()).update(arm.conditions.values())
    return {name: sorted(own) for name, own in settings.items()}


def _add_model(grid: Grid, config: StudyConfig, model: Model, settings: Sequence[str]) -> None:
    # The revision of the defaults is of their base model.
    base = {} if model.base_model is None else {"base_model": model.base_model, "base_model_revision": None}
    answered_by = {} if model.base_model is None else {"model": model.base_model}
    needs: tuple[str, ...] = ("samples",)
    if model.finetune is not None:
        rows = StageConfig(
            job="preprocess", needs=needs, config=merged(config.preprocess, {**model.preprocess, **base})
        )
        grid.rows[model.name] = grid.add(f"rows/{model.name}", rows)
        finetune = merged(config.finetune, {**base, **model.finetune})
        tuned = StageConfig(job="finetune", needs=(grid.rows[model.name],), config=finetune)
        needs, answered_by = ("samples", grid.add(f"tuned/{model.name}", tuned)), {}
    asked = merged(config.predict, {**answered_by, **model.predict})
    predict = StageConfig(job="predict", needs=needs, config=merged(asked, {"settings": list(settings)}))
    grid.answers[model.name] = grid.add(f"answers/{model.name}", predict)


def pipeline_of(config: StudyConfig, grid: Grid, count_rows: CountRows) -> PipelineConfig:
    """Return the graph with the stage that scores it.

    Args:
        config: the recipe.
        grid: its stages.
        count_rows: returns the training rows of a stage that makes them, None until it is done.
    """
    if SCORES in grid.stages:
        raise InputError(f"stages: {SCORES!r} is the study's own stage; give yours another name")
    tuned = [name for name, stage in grid.stages.items() if stage.job == "finetune"]
    shown = _columns(config, grid)
    evaluate = {"columns": shown, "studies": _studies(grid, count_rows)} | config.evaluate
    scores = StageConfig(job="evaluate", needs=("samples", *grid.predictions, *tuned), config=evaluate)
    values = {name: getattr(config, name) for name in PipelineConfig.model_fields}
    values |= {"stages": {name: stage.model_dump() for name, stage in {**grid.stages, SCORES: scores}.items()}}
    dumped = {name: value.model_dump() if hasattr(value, "model_dump") else value for name, value in values.items()}
    return validate(PipelineConfig, dumped, "the study's stages")


def _columns(config: StudyConfig, grid: Grid) -> list[int] | None:
    """Return which predictions have columns: models that the recipe asks, the base model, and the generalist."""
    numbers = config.evaluate.get("task_specific")  # not yet validated
    specialists = set(numbers) if isinstance(numbers, list) else set()
    own = [
        name
        for number, name in enumerate(grid.predictions)
        if name in config.stages and config.stages[name].job == "predict" and number not in specialists
    ]
    names = [*own, *(grid.answers[name] for name in (UNTUNED, GENERALIST) if name in grid.answers)]
    return [grid.predictions.index(name) for name in dict.fromkeys(names)] or None


def _studies(grid: Grid, count_rows: CountRows) -> list[dict[str, Any]]:
    place = {name: number for number, name in enumerate(grid.predictions)}
    studies = []
    for name, design in grid.designs.items():
        arms: list[dict[str, Any]] = []
        for arm in design.arms:
            x = arm.x
            if design.axis == NUM_TRAINING_SAMPLES and x is None:
                # Until its rows are there an arm has the place of its number, which nothing but a dry run sees.
                x = count_rows(grid.rows[arm.models[0].name]) or 1 + len(arms)
            runs = [place[grid.answers[model.name]] for model in arm.models]
            arms.append({"name": arm.name, "runs": runs, "conditions": arm.conditions, "x": x, "against": arm.against})
        studies.append({"name": name, "axis": design.axis, "arms": arms})
    return studies


def refuse_twins(nodes: Iterable[Node]) -> None:
    """Raise `InputError` if two models would be the same, or answer the same, though the recipe says it in other words.

    Their answers could not be told apart, which would be found after all the work.
    """
    seen: dict[str, str] = {}
    for node in nodes:
        if node.stage.job not in {"finetune", "predict"}:
            continue
        identity = {"job": node.stage.job, "inputs": node.stage.inputs(node.config), "config": content_of(node.config)}
        first = seen.setdefault(fingerprint_of(identity), node.name)
        if first != node.name:
            raise InputError(
                f"stages {first} and {node.name} would make the same: leave out what the one says and the other has by "
                "default, so that they are one, or what makes the second"
            )


def refuse_sizes(node: Node, counts: Callable[[], SampleCounts]) -> None:
    """Raise `InputError` if a preprocess asks for training samples that are not there, or for all of them by number.

    Args:
        node: a stage.
        counts: counts the rows of the samples by partition; asked only where it matters.
    """
    config = node.config
    if not isinstance(config, PreprocessConfig) or config.num_samples is None:
        return
    there = training_samples(config, counts())
    if config.num_samples >= there:
        raise InputError(
            f"{node.name}: num_samples={config.num_samples:,}, but there are {there:,} training samples of its tasks: "
            "give smaller numbers, and null for all"
        )
