"""Flows: how a build is cut into steps, and how all its flows advance together.

A flow is a generator of rounds: it yields a list of `Step`s that do not depend on one another, is sent their results,
and so on until it returns what it built. All flows advance in lockstep: the steps of one round of every flow run as
one wave of Ray tasks, so that a build of ten tasks has as many barriers as its longest flow, not as all together.

    flow A:  stage 4 files ──► join 16 buckets ──► ...
    flow B:  stage 1 file  ──► sort 8 buckets
             └── round 1 ──┘   └── round 2 ───┘

What a step writes has a fixed name, and its result is published last as `staging/steps/<name>.json`: a build that was
killed runs only the steps that lack one.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from ecellm.config import StorageConfig
from ecellm.shards import run_shards
from ecellm.storage import Storage, join

Result = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What every step is given besides its own arguments.

    Attributes:
        storage_config: how to reach all paths, as a JSON-able dict.
        raw_dir: where the raw sources are.
        output_dir: the samples directory.
        seed: of everything that is drawn.
    """

    storage_config: Mapping[str, Any]
    raw_dir: str
    output_dir: str
    seed: int

    @property
    def storage(self) -> Storage:
        """Access to all paths."""
        return Storage(StorageConfig(**self.storage_config))

    def staging(self, *names: str) -> str:
        """Return a path below the build's staging directory."""
        return join(self.output_dir, "staging", *names)

    def quarantine(self, name: str) -> str:
        """Return the directory for the bad lines of one raw file."""
        return join(self.output_dir, "quarantine", name)


StepFunction = Callable[..., Result]


@dataclass(frozen=True)
class Step:
    """One unit of work.

    Attributes:
        name: unique in the build, the same in every run; may hold slashes.
        function: called as `function(context, **arguments)`; returns a JSON-able dict; must write the same files
            under the same names when called again.
        arguments: JSON-able.
        cost: how long it takes, in any unit common to a round: the longest begin first.
    """

    name: str
    function: StepFunction
    arguments: Mapping[str, Any]
    cost: float = 0.0


Flow = Generator[list[Step], list[Result], T]


def run_flows(
    flows: Mapping[str, Flow[T]], context: Context, *, name: str, num_workers: int | None = None
) -> dict[str, T]:
    """Run flows to their ends; return what each returns.

    Args:
        flows: generators by name.
        context: given to every step.
        name: what progress lines are called.
        num_workers: most steps at a time; None for as many as the cluster has room for.
    """
    finished: dict[str, T] = {}
    waiting: dict[str, list[Step]] = {}
    for key, flow in flows.items():
        _advance(key, flow, None, waiting, finished)
    round_number = 0
    while waiting:
        round_number += 1
        steps = [step for own in waiting.values() for step in own]
        kinds = ", ".join(dict.fromkeys(step.name.split("/", 1)[0] for step in steps))
        results = _run_steps(steps, context, f"{name}, round {round_number} ({kinds})", num_workers)
        for key, own in list(waiting.items()):
            del waiting[key]
            _advance(key, flows[key], [results[step.name] for step in own], waiting, finished)
    return finished


def _advance(
    key: str,
    flow: Flow[T],
    results: list[Result] | None,
    waiting: dict[str, list[Step]],
    finished: dict[str, T],
) -> None:
    """Send results to a flow and note its next steps, or its end."""
    try:
        steps = next(flow) if results is None else flow.send(results)
        while not steps:  # a round with nothing to do
            steps = flow.send([])
        waiting[key] = steps
    except StopIteration as stop:
        finished[key] = stop.value


def _run_steps(steps: Sequence[Step], context: Context, name: str, num_workers: int | None) -> dict[str, Result]:
    """Run the steps that have no result yet; return the results of all by step name."""
    by_name: dict[str, Step] = {}
    for step in steps:  # two flows may need the same step: it runs once
        assert by_name.setdefault(step.name, step) == step, f"two different steps are called {step.name}"
    storage = context.storage
    directory = context.staging("steps")
    done = {path.removeprefix(f"{directory}/").removesuffix(".json") for path in storage.list_files(directory)}
    results = {step: storage.read_json(join(directory, f"{step}.json")) for step in by_name if step in done}
    todo = sorted((step for step in by_name.values() if step.name not in results), key=lambda step: -step.cost)
    shards = [{"step": step.name, "arguments": dict(step.arguments)} for step in todo]
    for result in run_shards(
        shards,
        run_step,
        name=name,
        function_args={"context": context, "functions": {step.name: step.function for step in todo}},
        num_workers=num_workers,
    ):
        results[result["step"]] = result["result"]
    return results


def run_step(shard: Mapping[str, Any], *, context: Context, functions: Mapping[str, StepFunction]) -> Result:
    """Run one step on a worker and publish its result."""
    pa.set_cpu_count(1)  # steps are what runs side by side
    name = shard["step"]
    result = functions[name](context, **shard["arguments"])
    context.storage.write_json(join(context.staging("steps"), f"{name}.json"), result)
    return {"step": name, "rows": int(result.get("rows", 0)), "result": json.loads(json.dumps(result))}
