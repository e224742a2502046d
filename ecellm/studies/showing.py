"""What a dry run of a study prints: the grid, what of it is done, and how long the rest will take."""

import sys
from collections.abc import Mapping, Sequence

from ecellm.config.study import StudyConfig
from ecellm.manifest import OutputState
from ecellm.pipeline import Node, check_dry
from ecellm.resources import largest_cluster
from ecellm.stage import plan
from ecellm.storage import Storage
from ecellm.studies import estimate
from ecellm.studies.grid import Grid, refuse_sizes
from ecellm.studies.running import held_by

_RATES = {"finetune": "training samples", "predict": "answers"}
_UNTIL = " until a stage of it is done here, or estimates says how fast it is"
_HINTS = {"finetune": _UNTIL, "predict": _UNTIL, "baseline": ""}


def show_grid(grid: Grid) -> None:
    """Print what is compared."""
    for name, design in grid.designs.items():
        sys.stdout.write(f"{name}{f', over {design.axis}' if design.axis else ''}\n")
        for arm in design.arms:
            models = ", ".join(model.name for model in arm.models)
            against = f", against {arm.against}" if arm.against else ""
            tests = ", ".join(f"{condition} = {setting}" for condition, setting in arm.conditions.items())
            sys.stdout.write(f"  {arm.name}: {models}{against}; tested on {tests}\n")


def show_stages(config: StudyConfig, nodes: Mapping[str, Node], needs: Mapping[str, Sequence[str]]) -> None:
    """Print all stages with what is done and what the others will take; check them as far as their inputs are there."""
    planned: dict[str, str] = {}
    states: dict[str, OutputState] = {}
    for node in nodes.values():
        made = plan(node.stage, node.config, planned)
        states[node.name] = made.state
        check_dry(node, made, planned, tells=False)
        planned[node.output_dir] = made.fingerprint
    done = [name for name, state in states.items() if state == OutputState.DONE]
    seconds, notes = _estimated(config, nodes, done)
    sys.stdout.write(f"stages: {len(nodes)}, of which done: {len(done)}\n")
    width = max(map(len, nodes))
    for name, node in nodes.items():
        took = "" if name in done else f"  about {estimate.time_text(seconds[name])}" if name in seconds else ""
        sys.stdout.write(f"  {name.ljust(width)}  {node.stage.job.ljust(10)}  {states[name]}{took}\n")
    for line in (*notes, *_total(seconds, nodes, needs, config.max_stages)):
        sys.stdout.write(f"{line}\n")


def _estimated(
    config: StudyConfig, nodes: Mapping[str, Node], done: Sequence[str]
) -> tuple[dict[str, float], list[str]]:
    """Return the seconds that stages will take, of those where anything tells, and what there is to say of it."""
    if "samples" not in done:
        return {}, ["estimated time: unknown until the samples are there"]
    counts = estimate.count_samples(Storage(config.storage), nodes["samples"].output_dir)
    for node in nodes.values():
        refuse_sizes(node, lambda: counts)
    by_directory = {node.output_dir: node for node in nodes.values()}
    units = {name: estimate.units_of(node, by_directory, counts) for name, node in nodes.items()}
    measured = estimate.measured_rates([nodes[name] for name in done], units)
    seconds: dict[str, float] = {}
    sources: dict[str, None] = {}
    unknown = {nodes[name].stage.job for name in nodes.keys() - set(done) if nodes[name].stage.job == "baseline"}
    for name, number in units.items():
        if number is None or name in done:
            continue
        rate = estimate.rate_of(nodes[name], measured, config.estimates)
        if rate is None:
            unknown.add(nodes[name].stage.job)
            continue
        seconds[name] = number / rate[0]
        sources[f"{_RATES[nodes[name].stage.job]} of {name}: {rate[0]:,.1f} a second, {rate[1]}"] = None
    notes = [f"{job}: unknown, not in the estimated time{_HINTS[job]}" for job in sorted(unknown)]
    return seconds, [*sources, *notes]


def _total(
    seconds: Mapping[str, float], nodes: Mapping[str, Node], needs: Mapping[str, Sequence[str]], most: int
) -> list[str]:
    """Return the hours one after the other, and the least that this cluster takes."""
    if not seconds:
        return []
    there = largest_cluster()
    by_room = [
        sum(took * held_by(nodes[name]).get(resource, 0.0) for name, took in seconds.items()) / amount
        for resource, amount in there.items()
        if resource in {"CPU", "GPU"} and amount
    ]
    at_once = max(estimate.longest_way(seconds, needs), sum(seconds.values()) / most, *by_room)
    line = (
        f"estimated time: {estimate.time_text(sum(seconds.values()))} one after the other, at least "
        f"{estimate.time_text(at_once)} with as many at once as there is room for"
    )
    return [line]
