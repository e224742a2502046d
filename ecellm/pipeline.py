"""All stages of a run as one graph: wired by what they make, done in order, finished ones skipped.

    stages:
      samples: {job: ingest, config: {release: dataset.json}}
      rows:    {job: preprocess, needs: [samples]}
      tuned:   {job: finetune, needs: [rows]}
      answers: {job: predict, needs: [samples, tuned]}
      scores:  {job: evaluate, needs: [samples, answers]}

A stage's output lies in `output_dir/<stage name>` unless its config says otherwise. The pipeline keeps no state of its
own: each stage has its manifest, and a stage whose inputs or config changed is refused or, with overwrite, made anew.

A stage that names a base model has its preset's values below those of the recipe; a stage that is handed a tuned model
has those of the model that was tuned. A base model's revision is said once, as base_model_revision: predict asks the
same one.
"""

import difflib
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from textwrap import indent
from typing import Any

import yaml

from ecellm.config import FinetuneConfig, JobConfig, PipelineConfig
from ecellm.errors import InputError
from ecellm.presets import Preset, find_preset, merged, named_model, with_preset
from ecellm.recipe import validate
from ecellm.redaction import redacted
from ecellm.stage import Plan, Stage, carry_out, check_plan, check_room_ahead, plan
from ecellm.storage import absolute, join

logger = logging.getLogger(__name__)

# What a job makes.
_MAKES = {
    "build": "samples",
    "ingest": "samples",
    "preprocess": "rows",
    "finetune": "model",
    "predict": "predictions",
    "baseline": "predictions",
    "evaluate": "metrics",
}
# Which field of a job takes what another one made; `*` marks a field that takes several.
_TAKES = {
    "preprocess": {"samples": "samples_dir"},
    "finetune": {"rows": "rows_dir"},
    "predict": {"samples": "samples_dir", "model": "model"},
    "baseline": {"samples": "samples_dir"},
    "evaluate": {"samples": "samples_dir", "predictions": "*predictions_dirs", "model": "*training_dirs"},
}
LoadStage = Callable[[str], Stage[Any]]
_COMMON = ("seed", "storage", "ray", "overwrite")


@dataclass(frozen=True)
class Node:
    """One stage of a pipeline with its validated config.

    Attributes:
        name: its name in the recipe.
        stage: the job.
        config: the job's config.
        preset: the preset whose values are in the config, None for none.
    """

    name: str
    stage: Stage[Any]
    config: JobConfig
    preset: Preset | None

    @property
    def output_dir(self) -> str:
        """Absolute path or URL of its output."""
        return absolute(self.config.output_dir)


def resolve(config: PipelineConfig, load_stage: LoadStage) -> list[Node]:
    """Return the pipeline's stages in an order in which they can run, each with its full config.

    Raises:
        InputError: the needs go round in a circle, a need does not fit, or a stage's config is wrong.
    """
    try:
        order = list(TopologicalSorter({name: stage.needs for name, stage in config.stages.items()}).static_order())
    except CycleError as error:
        raise InputError(f"the stages need one another in a circle: {' -> '.join(error.args[1])}") from None
    nodes: dict[str, Node] = {}
    for name in order:
        nodes[name] = _node(name, config, load_stage(config.stages[name].job), nodes)
    return list(nodes.values())


def _node(name: str, config: PipelineConfig, stage: Stage[Any], done: Mapping[str, Node]) -> Node:
    spec = config.stages[name]
    fields = stage.config_class.model_fields
    values: dict[str, Any] = {field: getattr(config, field) for field in _COMMON}
    values["output_dir"] = join(config.output_dir, name)
    values |= {key: value for key, value in config.defaults.items() if key in fields}
    if "model" in fields and "base_model" in config.defaults:
        values.setdefault("model", config.defaults["base_model"])  # what answers before tuning
    for need in spec.needs:
        _wire(name, spec.job, done[need], values)
    values = merged(values, spec.config)
    if "model_revision" in fields:
        values.setdefault("model_revision", _revision(values.get("model"), config, [done[need] for need in spec.needs]))
    preset = _preset(named_model(stage.config_class, values), done)
    values = with_preset(stage.config_class, values, preset)
    return Node(name, stage, validate(stage.config_class, values, f"stages.{name}.config"), preset)


def _revision(model: Any, config: PipelineConfig, needs: Sequence[Node]) -> str | None:
    """Return the revision of the model that predict asks: the tuned one's base as it was tuned, else the defaults'.

    A model that is not a base model of this pipeline has none here: its own is predict's to say.
    """
    for node in needs:
        if isinstance(node.config, FinetuneConfig) and node.config.base_model == model:
            return node.config.base_model_revision
    return config.defaults.get("base_model_revision") if model == config.defaults.get("base_model") else None


def _preset(model: str | None, done: Mapping[str, Node]) -> Preset | None:
    """Return the preset of a model; that of the model it was tuned from if a stage of this pipeline makes it."""
    directory = (model or "").rstrip("/").rpartition("/")[0]
    for node in done.values():
        if isinstance(node.config, FinetuneConfig) and directory in {node.config.output_dir, node.output_dir}:
            return node.preset
    return find_preset(model)


def _wire(name: str, job: str, source: Node, values: dict[str, Any]) -> None:
    """Put the output of a needed stage into the field that takes it."""
    kind = _MAKES[source.stage.job]
    field = _TAKES.get(job, {}).get(kind)
    if field is None:
        raise InputError(f"stage {name!r} ({job}) needs {source.name!r}, but {job} takes no {kind}")
    if field == "model":
        values |= _model_of(source)
    elif field.startswith("*"):
        values[field[1:]] = [*values.get(field[1:], ()), source.output_dir]
    elif field in values and not isinstance(values[field], str):
        raise InputError(f"stage {name!r}: {field} is wired twice")
    else:
        values[field] = source.output_dir


def _model_of(source: Node) -> dict[str, str]:
    """Return predict's fields for a tuned model: base and adapter, or the full model."""
    tuned = source.config
    assert isinstance(tuned, FinetuneConfig)
    if tuned.uses_adapters:
        return {"model": tuned.base_model, "adapter": join(source.output_dir, "adapter")}
    return {"model": join(source.output_dir, "model")}


def run_pipeline(config: PipelineConfig, load_stage: LoadStage, *, dry_run: bool) -> None:
    """Do all stages of a pipeline, or say what would be done.

    Raises:
        InputError: a config, an input or an output directory is wrong.
        OutputHeldError: another run is at work on a stage.
    """
    nodes = resolve(config, load_stage)
    check_defaults(config, nodes)
    if not dry_run:
        check_rooms(nodes)
    planned: dict[str, str] = {}
    for number, node in enumerate(nodes, 1):
        made = plan(node.stage, node.config, planned if dry_run else None)
        planned[node.output_dir] = made.fingerprint
        if dry_run:
            _show(node, made)
            if waits := check_dry(node, made, planned):
                sys.stdout.write(f"  checked once {', '.join(waits)} is there\n")
            continue
        preset = f", preset: {node.preset.name}" if node.preset else ""
        logger.info("pipeline: stage %d of %d, %s (%s)%s", number, len(nodes), node.name, node.stage.job, preset)
        carry_out(made)


def check_rooms(nodes: Iterable[Node]) -> None:
    """Raise `InputError` for a stage that could never run: what would wait for ever at the end says so before hours."""
    for node in nodes:
        check_room_of(node)


def check_room_of(node: Node) -> None:
    """Raise `InputError`, with the stage's name, if it could never run; a stage that is done needs no room."""
    try:
        check_room_ahead(node.stage, node.config)
    except InputError as error:
        raise InputError(f"stage {node.name}: {error}") from None


def check_defaults(config: PipelineConfig, nodes: Iterable[Node]) -> None:
    """Raise `InputError` for a default that no stage has a field for."""
    fields = {field for node in nodes for field in node.stage.config_class.model_fields}
    for name in config.defaults:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            hint = f": did you mean {near[0]!r}?" if near else f"; fields are {', '.join(sorted(fields))}"
            raise InputError(f"defaults: no stage of this pipeline has a field {name!r}{hint}")


def _show(node: Node, made: Plan[Any]) -> None:
    """Print one stage of a dry run with its config."""
    sys.stdout.write(f"{node.name} ({node.stage.job}) -> {made.output_dir}: {made.state}\n")
    config = redacted(node.config.model_dump(mode="json", exclude={"storage", "ray"}))
    sys.stdout.write(indent(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "  "))
    if node.preset:
        sys.stdout.write(f"  preset: {node.preset.name}\n")
    sys.stdout.write(f"  fingerprint {made.fingerprint}\n")


def check_dry(node: Node, made: Plan[Any], planned: Mapping[str, str], *, tells: bool = True) -> list[str]:
    """Check a stage as far as its inputs are there; return the names of those that earlier stages are to make.

    Args:
        node: the stage.
        made: the same, planned.
        planned: fingerprints of the outputs of earlier stages.
        tells: whether what its check learned is logged.
    """
    inputs = node.stage.inputs(node.config)
    waits = [name for name, path in inputs.items() if _is_planned(path, planned, made.storage)]
    if waits:
        check_room_of(node)
    else:
        check_plan(made, comes_next=False, tells=tells)
    return waits


def _is_planned(path: str, planned: Mapping[str, str], storage: Any) -> bool:
    directory = path if path in planned else path.rpartition("/")[0]
    return directory in planned and not storage.exists(join(directory, "_manifest.json"))
