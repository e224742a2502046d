"""Carrying out a graph of stages, several at once: each in a process of its own, as a driver on the same Ray.

A stage starts once those that it needs are done, and when what it holds at once (workers, actors) fits beside what the
others at work hold. A stage that refuses its input keeps back all that have not begun; one that fails otherwise keeps
back those that need it. Each stage has its manifest: the same command goes on where this one ended.
"""

import logging
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from ecellm.config import PredictConfig
from ecellm.errors import InputError, OutputHeldError, SurroundingsError
from ecellm.manifest import OutputState
from ecellm.pipeline import Node
from ecellm.resources import largest_cluster
from ecellm.shards import cpus_of_a_core
from ecellm.stage import plan

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_STOP_SECONDS, _READ_SECONDS = 30.0, 5.0
_LAST_LINE = re.compile(r"^ecellm: exit=\d+ reason=(.*)", re.DOTALL)
_EXIT_OTHER, _EXIT_BAD_INPUT, _EXIT_HELD = 1, 2, 3


class StageProcess:
    """A stage at work: its lines are passed on with its name before them."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.reason = "it ended without a word"
        self._process = subprocess.Popen(  # noqa: S603  this program's own command line
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _pass_on(self, lines: IO[str]) -> None:
        for line in lines:
            ended = _LAST_LINE.match(line.rstrip("\n"))
            if ended:
                self.reason = ended.group(1)
            else:
                sys.stdout.write(f"[{self.name}] {line}")
                sys.stdout.flush()

    def exit_code(self) -> int | None:
        """Return how it ended; None while it is at work."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(_READ_SECONDS)  # something that it left behind may keep its end of the pipe
        return code

    def ask_to_stop(self) -> None:
        """Tell it to end; it goes on where it stopped when it is started again."""
        self._process.terminate()

    def stop(self) -> None:
        """End it, gently for some seconds."""
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Graph:
    """What is to be done.

    Attributes:
        needs: the stages that each stage needs, in an order in which they can run.
        node_of: returns a stage with its config; asked once those that it needs are done.
        command_of: returns the command that does one stage.
    """

    needs: Mapping[str, Sequence[str]]
    node_of: Callable[[str], Node]
    command_of: Callable[[str], Sequence[str]]


def held_by(node: Node) -> dict[str, float]:
    """Return what a stage needs at once to run, by Ray's names; one CPU where it has but tasks."""
    room = node.stage.room(node.config)
    return {"CPU": 1.0} if room is None else {name: room.number * amount for name, amount in room.needs.items()}


def booked_for(node: Node, there: Mapping[str, float]) -> dict[str, float]:
    """Return what a stage may come to hold, of all that is there: predict takes what becomes free for its actors."""
    held = held_by(node)
    if not isinstance(node.config, PredictConfig):
        return held
    if node.config.actors_at_once is not None:
        return {name: node.config.actors_at_once * amount for name, amount in held.items()}
    scarcest = "GPU" if "GPU" in held else "CPU"
    return held | {scarcest: max(held[scarcest], there.get(scarcest, 0.0))}


def run_stages(graph: Graph, *, most: int) -> None:
    """Do all stages of a graph, at most so many at once.

    Raises:
        InputError: a stage refused its input.
        OutputHeldError: another run is at work on a stage.
        SurroundingsError: a stage failed for another reason.
    """
    schedule = _Schedule(graph, most)
    try:
        while schedule.goes_on():
            time.sleep(_POLL_SECONDS)
    finally:
        schedule.stop()
    schedule.raise_failures()


def _there() -> dict[str, float]:
    """Return what the cluster, grown to its full size, has: of a local Ray no more CPUs than the machine has cores."""
    there = largest_cluster()
    there["CPU"] = there.get("CPU", 0.0) / cpus_of_a_core()  # trainings that share a core take longer, not less
    return there


class _Schedule:
    """How far a graph is: stages that are done, at work, failed; the others wait."""

    def __init__(self, graph: Graph, most: int) -> None:
        self._graph = graph
        self._most = most
        self._done: set[str] = set()
        self._failed: dict[str, tuple[int, str]] = {}
        self._waiting: dict[str, Node] = {}  # planned, for want of room not begun
        self._at_work: dict[str, tuple[StageProcess, Mapping[str, float]]] = {}

    def goes_on(self) -> bool:
        """Take in what has ended, begin what can begin; return whether anything is at work."""
        self._collect()
        while any(self._begin(name) for name in self._ready()):
            pass  # what was done before may let others begin
        return bool(self._at_work)

    def stop(self) -> None:
        """End what is at work."""
        for process, _ in self._at_work.values():
            process.ask_to_stop()
        for process, _ in self._at_work.values():
            process.stop()

    def raise_failures(self) -> None:
        """Raise the first failure, with all of them in its message."""
        if not self._failed:
            return
        left = [name for name in self._graph.needs if name not in self._done | self._failed.keys()]
        reasons = "; ".join(f"{name}: {reason}" for name, (_, reason) in self._failed.items())
        kept_back = f"; not begun: {', '.join(left)}" if left else ""
        kinds = {_EXIT_BAD_INPUT: InputError, _EXIT_HELD: OutputHeldError}
        first_code = next(iter(self._failed.values()))[0]
        raise kinds.get(first_code, SurroundingsError)(
            f"{len(self._failed)} of {len(self._graph.needs)} stages failed: {reasons}{kept_back}. "
            "The same command goes on where they stopped"
        )

    def _ready(self) -> list[str]:
        if any(code == _EXIT_BAD_INPUT for code, _ in self._failed.values()):
            return []  # what the user has to mend should be mended before hours of work
        taken = self._done | self._failed.keys() | self._at_work.keys()
        return [name for name, needs in self._graph.needs.items() if name not in taken and self._done.issuperset(needs)]

    def _begin(self, name: str) -> bool:
        """Begin a stage if there is room; return whether it turned out to be done, or to have failed, before."""
        if name not in self._waiting:
            try:
                node = self._graph.node_of(name)
                if plan(node.stage, node.config).state == OutputState.DONE:
                    self._end(name, f"done before, in {node.output_dir}")
                    return True
            except (InputError, SurroundingsError, OSError) as error:
                self._fail(name, _EXIT_BAD_INPUT if isinstance(error, InputError) else _EXIT_OTHER, str(error))
                return True
            self._waiting[name] = node
        there = _there()
        if self._has_room(held_by(self._waiting[name]), there):
            logger.info("study: %s begins", name)
            process = StageProcess(name, self._graph.command_of(name))
            self._at_work[name] = process, booked_for(self._waiting.pop(name), there)
        return False

    def _has_room(self, needs: Mapping[str, float], there: Mapping[str, float]) -> bool:
        if not self._at_work:
            return True  # whether it could ever run is for its own check to say
        booked: Counter[str] = Counter()
        for _, theirs in self._at_work.values():
            booked.update(theirs)
        fits = all(booked[name] + amount <= there.get(name, 0.0) for name, amount in needs.items())
        return fits and len(self._at_work) < self._most

    def _collect(self) -> None:
        for name, (process, _) in list(self._at_work.items()):
            code = process.exit_code()
            if code is None:
                continue
            del self._at_work[name]
            if code:
                self._fail(name, code, process.reason)
            else:
                self._end(name, "done")

    def _end(self, name: str, how: str) -> None:
        self._done.add(name)
        logger.info("study: %s: %s (%d of %d stages)", name, how, len(self._done), len(self._graph.needs))

    def _fail(self, name: str, code: int, reason: str) -> None:
        self._failed[name] = code, reason
        logger.error("study: %s failed: %s", name, reason)
