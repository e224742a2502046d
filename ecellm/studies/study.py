"""`python -m jobs.study`: the grid that a recipe's studies make, shown or carried out."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from graphlib import TopologicalSorter

import ray

from ecellm.config.pipeline import PipelineConfig
from ecellm.config.study import StudyConfig
from ecellm.errors import InputError
from ecellm.manifest import read_manifest
from ecellm.pipeline import LoadStage, Node, check_defaults, check_rooms, resolve
from ecellm.stage import carry_out, plan
from ecellm.storage import Storage, absolute, join
from ecellm.studies.estimate import SampleCounts, count_samples
from ecellm.studies.grid import SCORES, Grid, make_grid, pipeline_of, refuse_sizes, refuse_twins
from ecellm.studies.running import Graph, run_stages
from ecellm.studies.showing import show_grid, show_stages

logger = logging.getLogger(__name__)


def run_study(config: StudyConfig, load_stage: LoadStage, *, dry_run: bool, arguments: Sequence[str]) -> None:
    """Do all stages of the studies, one of them (`only`), or say what would be done.

    Args:
        config: the recipe.
        load_stage: returns the stage of a job.
        dry_run: only show and check.
        arguments: of the command line, for the processes that do one stage each.

    Raises:
        InputError: a config, an input or an output directory is wrong.
        OutputHeldError: another run is at work on a stage.
        SurroundingsError: a stage failed for another reason.
    """
    grid = make_grid(config)
    pipeline = _pipeline(config, grid)
    if config.only is not None:
        _run_alone(config.only, pipeline, load_stage)
        return
    nodes = _nodes(pipeline, load_stage)
    needs = {name: pipeline.stages[name].needs for name in nodes}
    check_defaults(config, nodes.values())
    refuse_twins(nodes.values())
    if dry_run:
        show_grid(grid)
        show_stages(config, nodes, needs)
        return
    check_rooms(nodes.values())
    command = [sys.executable, "-m", "jobs.study", *arguments]
    graph = Graph(
        needs=needs,
        node_of=partial(_node_of, nodes, lambda: _nodes(_pipeline(config, grid), load_stage), _counts_of(nodes)),
        command_of=lambda name: [*command, *_alone(name)],
    )
    logger.info("study: %d studies, %d stages", len(grid.designs), len(nodes))
    run_stages(graph, most=config.max_stages)
    logger.info("study: the report is %s", join(nodes[SCORES].output_dir, "report.html"))


def _run_alone(name: str, pipeline: PipelineConfig, load_stage: LoadStage) -> None:
    """Do one stage. No other is loaded than those that it comes from: what tokenizes rows must not load DeepSpeed."""
    if name not in pipeline.stages:
        raise InputError(f"only: there is no stage {name!r}; stages are {', '.join(pipeline.stages)}")
    needed = {name}
    for other in reversed(list(TopologicalSorter({n: s.needs for n, s in pipeline.stages.items()}).static_order())):
        if other in needed:
            needed |= set(pipeline.stages[other].needs)
    stages = {other: stage for other, stage in pipeline.stages.items() if other in needed}
    node = _nodes(pipeline.model_copy(update={"stages": stages}), load_stage)[name]
    carry_out(plan(node.stage, node.config))


def _alone(name: str) -> list[str]:
    """Return the overrides that let a process do one stage, on this process's Ray; a name may look like YAML."""
    return [f"only={json.dumps(name)}", f"ray.address={ray.get_runtime_context().gcs_address}"]


def _node_of(
    nodes: Mapping[str, Node], resolve_again: Callable[[], Mapping[str, Node]], counts: Callable[[], SampleCounts],
    name: str,
) -> Node:  # fmt: skip
    """Return a stage, once those that it needs are done.

    What scores the studies is told how many rows each model has learnt from, and so is resolved again; what makes these
    rows is compared with the samples that there are.
    """
    if name == SCORES:
        return resolve_again()[name]
    refuse_sizes(nodes[name], counts)
    return nodes[name]


def _counts_of(nodes: Mapping[str, Node]) -> Callable[[], SampleCounts]:
    """Return what counts the samples, once they are there, and does so once."""
    samples = nodes["samples"]
    return cache(lambda: count_samples(Storage(samples.config.storage), samples.output_dir))


def _pipeline(config: StudyConfig, grid: Grid) -> PipelineConfig:
    storage = Storage(config.storage)

    def count_rows(stage: str) -> int | None:
        manifest = read_manifest(storage, absolute(join(config.output_dir, stage)))
        number: int | None = manifest.get("details", {}).get("rows_by_split", {}).get("train")
        return number

    return pipeline_of(config, grid, count_rows)


def _nodes(pipeline: PipelineConfig, load_stage: LoadStage) -> dict[str, Node]:
    """Return the stages by name, in an order in which they can run."""
    return {node.name: node for node in resolve(pipeline, load_stage)}
