"""The unit of work: a shard of the input, read, worked on and written by one Ray task or actor call.

Shards are small JSON-able dicts with a fixed number; their results are small too. The rows themselves go from file to
file inside the worker and never through the driver.

`run_shards` uses plain Ray tasks: for work without state Ray Data adds only its own cost. Measured on two cores: ingest
of a 508 MB release, four tasks at a time, took 1,442 MB at the peak with Ray Data and 1,096 MB with plain tasks (509 MB
of them an idle Ray); the steps of a build of 4 million samples 47.6 s and 36.4 s, of 400,000 samples 13.9 s and 8.8 s,
since Ray Data starts the next task a tenth to a quarter of a second after one has ended. `run_shards_on_actors`, for
models, is one Ray Data job.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray

from ecellm.errors import InputError
from ecellm.resources import check_room_for_tasks, room_at_most

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_STOP = 60.0
_REFUSED = "refused"
_MOST_RESTARTS = 3  # of one actor that has died


def run_shards(
    shards: Sequence[Mapping[str, Any]],
    function: Callable[..., Mapping[str, Any]],
    *,
    name: str,
    function_args: Mapping[str, Any] | None = None,
    num_cpus: float | None = None,
    memory: float | Callable[[Mapping[str, Any]], float] | None = None,
    num_workers: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Call `function(shard, **function_args)` for every shard, in parallel tasks; yield results as they come.

    Args:
        shards: JSON-able dicts; they begin in this order.
        function: plain function; must write its part under a fixed name, so that a retry does no harm.
        name: what progress lines are called.
        function_args: more arguments, the same for all.
        num_cpus: logical CPUs of one task; None takes what stands for one real core.
        memory: bytes that Ray reserves for one task, or a function of the shard that tells them.
        num_workers: most tasks at work at once; None for as many as the cluster has room for.

    Raises:
        InputError: no node could ever run a task.
    """
    cpus = cpus_of_a_core() if num_cpus is None else num_cpus
    needs = [memory(shard) for shard in shards] if callable(memory) else [memory] * len(shards)
    check_room_for_tasks(name, cpus=cpus, memory=max((need or 0 for need in needs), default=0))
    task = ray.remote(function)
    arguments = {key: ray.put(value) for key, value in (function_args or {}).items()}

    def submit(shard: Mapping[str, Any], memory_of_one: float | None) -> Any:
        return task.options(num_cpus=cpus, memory=memory_of_one, name=name).remote(shard, **arguments)

    # Twice the cluster's CPUs are submitted at a time: enough to keep it busy, and to make it grow.
    window = num_workers or max(8, 2 * int(ray.cluster_resources().get("CPU", 1)))
    yield from _with_progress(_unordered(submit, list(zip(shards, needs, strict=True)), window), len(shards), name)


def cpus_of_a_core() -> float:
    """Return 1, or more on a local Ray that was given more logical CPUs than the machine has cores.

    More tasks than cores would only hold more memory at a time.
    """
    if len(ray.nodes()) > 1:
        return 1.0
    return max(1.0, ray.cluster_resources().get("CPU", 1.0) // (os.cpu_count() or 1))


def _unordered(submit: Callable[..., Any], calls: Iterable[tuple[Any, ...]], window: int) -> Iterator[Any]:
    """Yield results as tasks finish; only `window` tasks are submitted at a time.

    When one fails, or nobody asks for more, those at work are stopped before this returns: none writes afterwards.
    """
    pending: list[Any] = []
    try:
        for call in calls:
            if len(pending) >= window:
                ready, pending = ray.wait(pending)
                yield from ray.get(ready)
            pending.append(submit(*call))
        while pending:
            ready, pending = ray.wait(pending)
            yield from ray.get(ready)
    finally:
        for reference in pending:
            ray.cancel(reference)
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=_SECONDS_TO_STOP)


def run_shards_on_actors(
    shards: Sequence[Mapping[str, Any]],
    actor_class: type,
    *,
    constructor_args: Mapping[str, Any],
    num_actors: int | None,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> Iterator[dict[str, Any]]:
    """Call `actor(shard)` for every shard on a pool of actors that each load their state once: one Ray Data job.

    Args:
        shards: JSON-able dicts.
        actor_class: class whose instances take one shard and return a JSON-able dict.
        constructor_args: arguments of the class.
        num_actors: actors at work at once, fewer where there are fewer shards; None for as many as there is room for,
            more of them as nodes come.
        num_cpus: logical CPUs of one actor.
        num_gpus: GPUs of one actor.

    Raises:
        InputError: an actor refuses its arguments or a shard.
    """
    if not shards:
        return
    import ray.data

    # Our own lines say what users ask: rows, rate, time left.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # one more when all have a shard
    if num_actors is None:
        num_cpus *= cpus_of_a_core()
    first = num_actors or room_for_actors(num_cpus, num_gpus)
    results = ray.data.from_items(
        [{"shard": json.dumps(shard)} for shard in shards], override_num_blocks=len(shards)
    ).map(
        _ShardActor,
        fn_constructor_kwargs={"actor_class": actor_class, "arguments": dict(constructor_args)},
        # It begins with all that there is room for: one more comes only once all have loaded their model and are busy.
        compute=ray.data.ActorPoolStrategy(
            min_size=min(first, len(shards)),
            max_size=min(num_actors or len(shards), len(shards)),
            max_tasks_in_flight_per_actor=1,
        ),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        # A shard that kills its actor again and again must end the job, not load the model for ever.
        ray_remote_args_fn=lambda: {"max_restarts": _MOST_RESTARTS, "max_task_retries": _MOST_RESTARTS},
    )
    for row in results.iter_rows():
        result = json.loads(row["result"])
        if _REFUSED in result:
            raise InputError(result[_REFUSED])
        yield result


def room_for_actors(num_cpus: float, num_gpus: float) -> int:
    """Return how many actors of this size there is room for now, and one where nodes are still to come."""
    return max(1, room_at_most(num_cpus, num_gpus))


class _ShardActor:
    """Holds one instance of the caller's class in a Ray Data actor, and adapts it to Ray Data's rows.

    What the user must mend is returned, not raised: Ray Data passes on the text of an exception, not its class.
    """

    def __init__(self, actor_class: type, arguments: Mapping[str, Any]) -> None:
        self._refusal = ""
        try:
            self._instance = actor_class(**arguments)
        except InputError as error:
            self._refusal = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": json.dumps(self._result(json.loads(row["shard"])))}

    def _result(self, shard: Mapping[str, Any]) -> Any:
        try:
            if not self._refusal:
                return self._instance(shard)
        except InputError as error:
            self._refusal = str(error)  # shards that are on their way meet the same
        return {_REFUSED: self._refusal}


def _with_progress(results: Iterable[dict[str, Any]], total: int, name: str) -> Iterator[dict[str, Any]]:
    start = last_line = time.monotonic()
    rows = 0
    for done, result in enumerate(results, 1):
        rows += int(result.get("rows", 0))
        now = time.monotonic()
        if done == total or now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = now
            left = f", about {(now - start) / done * (total - done):.0f} s left" if done < total else ""
            rate = f", {rows:,} rows, {rows / max(now - start, 1e-9):,.0f} rows/s" if rows else ""
            logger.info("%s: %d of %d parts%s%s", name, done, total, rate, left)
        yield result
