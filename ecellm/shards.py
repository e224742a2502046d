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
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from ecellm.errors import InputError, SurroundingsError, find_cause
from ecellm.resources import check_room, room_at_most, room_for_a_task

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_STOP = 60.0
_RESULT, _REFUSED, _GAVE_WAY, _FAILED = "result", "refused", "gave_way", "failed"
_LEAST_SUBMITTED = 8
_MOST_RETRIES = 3  # of one shard whose process has died
_MOST_RESTARTS = 3  # of one actor that has died
_LOST = (WorkerCrashedError, OutOfMemoryError, NodeDiedError, MemoryError)
_MOST_TEXT = 400  # characters


class WorkerLostError(SurroundingsError):
    """A process died again and again at the same work: most often for want of memory."""


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
        WorkerLostError: the process of a shard died again and again, while those of the others did their work.
    """
    cpus = cpus_of_a_core() if num_cpus is None else num_cpus
    needs = [memory(shard) for shard in shards] if callable(memory) else [memory] * len(shards)
    check_room(room_for_a_task(name, cpus=cpus, memory=max((need or 0 for need in needs), default=0)))
    task = ray.remote(function)
    arguments = {key: ray.put(value) for key, value in (function_args or {}).items()}

    def submit(shard: Mapping[str, Any], memory_of_one: float | None) -> Any:
        # Retries are ours: Ray has no limit to those of tasks that were killed for want of memory.
        options = {"num_cpus": cpus, "memory": memory_of_one, "name": name, "max_retries": 0}
        return task.options(**options).remote(shard, **arguments)

    def window() -> int:
        # Twice the CPUs that are there by now: enough to keep the cluster busy, and to make it grow further.
        return num_workers or max(_LEAST_SUBMITTED, 2 * int(ray.cluster_resources().get("CPU", 1)))

    calls = list(zip(shards, needs, strict=True))
    yield from _with_progress(_unordered(submit, calls, window, name), len(shards), name)


def cpus_of_a_core() -> float:
    """Return 1, or more on a local Ray that was given more logical CPUs than the machine has cores.

    More tasks than cores would only hold more memory at a time.
    """
    if len(ray.nodes()) > 1:
        return 1.0
    return max(1.0, ray.cluster_resources().get("CPU", 1.0) // (os.cpu_count() or 1))


def _unordered(
    submit: Callable[[Mapping[str, Any], float | None], Any],
    calls: Iterable[tuple[Mapping[str, Any], float | None]],
    window: Callable[[], int],
    name: str,
) -> Iterator[Any]:
    """Yield results as tasks finish; only `window()` tasks are submitted at a time.

    A shard whose process died is done again behind all others: it may then have the memory for itself. When one fails,
    or nobody asks for more, those at work are stopped before this returns: none writes afterwards.
    """
    waiting, num_deaths = deque(enumerate(calls)), Counter[int]()
    pending: dict[Any, tuple[int, tuple[Mapping[str, Any], float | None]]] = {}
    try:
        while waiting or pending:
            most = window()
            while waiting and len(pending) < most:
                number, call = waiting.popleft()
                pending[submit(*call)] = number, call
            (reference,), _ = ray.wait(list(pending))
            number, call = pending.pop(reference)
            try:
                result = ray.get(reference)
            except Exception as error:
                if not (lost := _lost(error)):
                    raise
                num_deaths[number] += 1
                _tell_of_death(name, call[0], lost, num_deaths[number])
                waiting.append((number, call))
            else:
                yield result
    finally:
        for reference in pending:
            ray.cancel(reference)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=_SECONDS_TO_STOP)


def _lost(error: BaseException) -> BaseException | None:
    """Return what ended a task's process, or its memory; None for an exception of its work."""
    return next((found for kind in _LOST if (found := find_cause(error, kind))), None)


def _tell_of_death(name: str, shard: Mapping[str, Any], lost: BaseException, deaths: int) -> None:
    """Log that a shard is done again.

    Raises:
        WorkerLostError: it has died too often.
    """
    what = f"the process of a part of {name} ({_described(shard)}) died: {why_lost(lost)}"
    if deaths > _MOST_RETRIES:
        raise WorkerLostError(
            f"{what}. It did so {deaths} times; parts that are finished stay. Give the nodes more memory, or run fewer "
            "tasks at a time (num_workers where the job has it, else ray.num_cpus); the same command goes on"
        ) from None
    logger.warning("%s. Doing it again, %d more tries", what, _MOST_RETRIES + 1 - deaths)


def _described(shard: Mapping[str, Any]) -> str:
    """Return what a person needs to tell a shard from the others."""
    text = ", ".join(f"{key}={value}" for key, value in shard.items() if value not in ({}, [], None))
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def why_lost(lost: BaseException) -> str:
    """Return in one line why a process ended, as far as Ray knows, and what memory there was."""
    text = " ".join(str(lost).split())
    start = text.find("Memory on the node")
    if start >= 0:  # Ray's own watch over memory
        end = text.find("Ray killed", start)
        return text[start : end if end > start else start + _MOST_TEXT].strip().rstrip(".")
    if isinstance(lost, MemoryError):
        return f"it asked for more memory than it may have ({text or 'MemoryError'}); {_memory_of_nodes()}"
    return f"killed from outside, most often for want of memory, or a crash in native code; {_memory_of_nodes()}"


def _memory_of_nodes() -> str:
    gib = [node["Resources"].get("memory", 0.0) / 2**30 for node in ray.nodes() if node["Alive"]]
    return f"the largest of {len(gib)} nodes gives its tasks {max(gib, default=0.0):.1f} GiB together"


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

    A shard whose actor is lost, alone or with its node, is left undone and the others go on: it must not wait for a new
    actor, which no node may have room for.

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
        SurroundingsError: what an actor stands on gave way; a `WorkerLostError`, once all others are done, where shards
            were lost with their actors.
        RuntimeError: an actor raises anything else.
    """
    if not shards:
        return
    if num_actors is None:
        num_cpus *= cpus_of_a_core()
    first = num_actors or room_for_actors(num_cpus, num_gpus)
    names: list[str] = []
    results = _on_pool(
        shards,
        {"actor_class": actor_class, "arguments": dict(constructor_args)},
        names,
        min_size=min(first, len(shards)),
        max_size=min(num_actors or len(shards), len(shards)),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    num_done, why = 0, None
    try:
        for row in results.iter_rows():
            yield _taken(json.loads(row["outcome"]))
            num_done += 1
    except Exception as error:
        if not (lost := find_cause(error, RayActorError)):
            raise
        why = why_lost(lost)
    if why is None and num_done == len(shards):
        return
    _kill_actors(names)
    if why is not None:
        raise WorkerLostError(
            f"an actor died and could not be kept alive by {_MOST_RESTARTS} restarts: {why}. Parts that are finished "
            "stay; the same command goes on"
        )
    raise WorkerLostError(
        f"{len(shards) - num_done} of {len(shards)} parts were lost with the actors that had them: killed from "
        "outside, most often for want of memory, or with their node, or a crash in native code; "
        f"{_memory_of_nodes()}"
    )


def _on_pool(
    shards: Sequence[Mapping[str, Any]],
    actor: Mapping[str, Any],
    names: list[str],
    *,
    min_size: int,
    max_size: int,
    num_cpus: float,
    num_gpus: float,
) -> Any:
    """Return the Ray Data job, not yet begun, that gives the outcome of each shard; shards that are lost are missing.

    Args:
        shards: JSON-able dicts.
        actor: arguments of `_ShardActor`.
        names: gets the name of every actor that is started.
        min_size: actors at the beginning: all that there is room for, since one more comes only once all have loaded
            their model and are busy.
        max_size: most actors.
        num_cpus: logical CPUs of one actor.
        num_gpus: GPUs of one actor.
    """
    import ray.data

    # Our own lines say what users ask: rows, rate, time left.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # one more when all have a shard

    def options_of_one() -> dict[str, Any]:
        names.append(f"{actor['actor_class'].__name__}-{uuid.uuid4().hex}")
        # Ray's own retries wait for the very actor that was lost, or are used up before Ray knows that its node is.
        return {"max_restarts": _MOST_RESTARTS, "max_task_retries": 0, "name": names[-1]}

    results = ray.data.from_items(
        [{"shard": json.dumps(shard)} for shard in shards], override_num_blocks=len(shards)
    ).map(
        _ShardActor,
        fn_constructor_kwargs=dict(actor),
        compute=ray.data.ActorPoolStrategy(min_size=min_size, max_size=max_size, max_tasks_in_flight_per_actor=1),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        ray_remote_args_fn=options_of_one,
    )
    results.context.max_errored_blocks = -1  # what actors raise comes as a result: an error is an actor that was lost
    return results


def _taken(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return an actor's result, or raise what it said instead."""
    if _REFUSED in outcome:
        raise InputError(outcome[_REFUSED])
    if _GAVE_WAY in outcome:
        raise SurroundingsError(outcome[_GAVE_WAY])
    if _FAILED in outcome:
        raise RuntimeError(f"an actor failed:\n{outcome[_FAILED]}")
    return dict(outcome[_RESULT])


def _kill_actors(names: Iterable[str]) -> None:
    """End actors of a pool that has lost some.

    Ray ends an actor once nothing refers to it. One that is being restarted by then, and Ray Data's own objects, which
    refer to each other, keep it, and its CPUs from those that come next.
    """
    for name in names:
        with suppress(ValueError):  # it is gone
            ray.kill(ray.get_actor(name))


def room_for_actors(num_cpus: float, num_gpus: float) -> int:
    """Return how many actors of this size there is room for now, and one where nodes are still to come."""
    return max(1, room_at_most(num_cpus, num_gpus))


class _ShardActor:
    """Holds one instance of the caller's class in a Ray Data actor, and adapts it to Ray Data's rows.

    Exceptions are returned, not raised: Ray Data passes on the text of an exception, not its class, and an actor that
    raised must be told from one that was lost.
    """

    def __init__(self, actor_class: type, arguments: Mapping[str, Any]) -> None:
        self._refusal: dict[str, str] = {}
        with self._noting_refusals():
            self._instance = actor_class(**arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        outcome: dict[str, Any] = {}
        if not self._refusal:
            with self._noting_refusals():
                outcome[_RESULT] = self._instance(json.loads(row["shard"]))
        return {"outcome": json.dumps(outcome | self._refusal)}  # shards that are on their way meet the same

    @contextmanager
    def _noting_refusals(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._refusal = {_REFUSED: str(error)}
        except SurroundingsError as error:
            self._refusal = {_GAVE_WAY: str(error)}
        except Exception:  # noqa: BLE001  raised again where it is read
            self._refusal = {_FAILED: traceback.format_exc()}


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
