"""Whether the cluster could ever hold what a stage asks for: a job that waits for ever should say so at once."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from ecellm.autoscaler import brings_nodes, may_bring_nodes
from ecellm.errors import InputError
from ecellm.node_types import VARIABLE, NodeType, told_node_types

_MEMORY = "memory"  # in bytes, as Ray calls and counts it
# An autoscaler looks at the demand every 5 seconds, and Kubernetes takes its time; all rooms together take a minute.
_PATIENCE_SECONDS, _LEAST_SECONDS = 45.0, 15.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """Processes that must run at once.

    Attributes:
        what: the processes, as the user set them: "num_workers=2 with cpus_per_worker=1".
        number: how many.
        cpus: CPUs of each.
        gpus: GPUs of each.
        memory: bytes that each reserves.
        advice: what to change where there is no room.
    """

    what: str
    number: int
    cpus: float
    gpus: float = 0
    memory: float = 0
    advice: str

    @property
    def needs(self) -> dict[str, float]:
        """What each needs, by Ray's names."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, _MEMORY: self.memory}
        return {name: amount for name, amount in amounts.items() if amount}


def room_for_a_task(name: str, *, cpus: float = 1, memory: float = 0) -> Room:
    """Return what a task of something needs; by default Ray's own one CPU."""
    return Room(what=f"a task of {name}", number=1, cpus=cpus, memory=memory, advice="give its nodes more")


def check_room(*rooms: Room, may_ask: bool = True) -> None:
    """Raise if the cluster, grown to its full size, could not hold some processes: first these, then those.

    How far it may grow is known where its autoscaler or its environment tells (node_types.py). Elsewhere an autoscaler
    is asked by a true demand, which takes up to a minute for all rooms together and brings nodes.

    Args:
        rooms: each by itself, not at the same time.
        may_ask: whether the work comes next; if not, what nobody has told is taken to be possible.

    Raises:
        InputError: there is no room; the message says what is there.
    """
    kinds = told_node_types()
    is_told = kinds is not None or _limits() is not None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for room in rooms:
        problem = _lack(room) if kinds is None else _lack_of_kinds(room, kinds)
        if problem and not is_told:
            seconds = max(_LEAST_SECONDS, deadline - time.monotonic())
            comes = brings_nodes(room.what, room.needs, room.number, seconds) if may_ask else may_bring_nodes()
            problem = None if comes else problem
        if problem:
            raise InputError(problem)


def _lack_of_kinds(room: Room, kinds: Sequence[NodeType]) -> str | None:
    """Return what is missing with all nodes of these kinds, in a sentence; None if there is, or may come, room."""
    found = max(_room_now(room.needs), sum(kind.room(room.needs) for kind in kinds))
    if found >= room.number:
        return None
    needs = ", ".join(_amount(name, amount) for name, amount in room.needs.items())
    return (
        f"{room.what}: {room.number} with {needs} each must run at once, but the nodes that {VARIABLE} allows hold "
        f"{found}: {room.advice}, or allow more nodes"
    )


def _lack(room: Room) -> str | None:
    """Return what is missing, in a sentence; None if there is, or may come, room."""
    what, number, needs, advice = room.what, room.number, room.needs, room.advice
    largest, grows = _largest()
    for resource, amount in needs.items():
        there = largest.get(resource, 0.0)
        if number * amount > there and not (grows and resource == _MEMORY):  # not every autoscaler counts memory
            amount_text, there_text = _amount(resource, number * amount), _amount(resource, there, named=False)
            return f"{what} needs {amount_text}, but the cluster has {there_text}: {advice}, or add nodes"
    if not grows and not _room_now(needs):
        text = f"{needs.get('CPU', 0):g} CPUs and {needs.get('GPU', 0):g} GPUs"
        text += f" and {_amount(_MEMORY, needs[_MEMORY])}" if _MEMORY in needs else ""
        return f"{what}: no node has {text} for one of them: {advice}"
    return None


def _amount(resource: str, amount: float, *, named: bool = True) -> str:
    if resource == _MEMORY:
        return f"{amount / 2**30:.1f} GiB of memory" if named else f"{amount / 2**30:.1f}"
    return f"{amount:g} {resource}s" if named else f"{amount:g}"


def room_now(cpus: float, gpus: float) -> int:
    """Return how many processes of this size the nodes that are there hold at once."""
    return _room_now({"CPU": cpus, "GPU": gpus})


def _room_now(needs: Mapping[str, float]) -> int:
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            room += int(min(node["Resources"].get(name, 0.0) // amount for name, amount in needs.items() if amount))
    return room


def room_at_most(cpus: float, gpus: float) -> int:
    """Return how many processes of this size the cluster, grown to its full size, may hold at once."""
    kinds = told_node_types()
    if kinds is not None:
        return max(room_now(cpus, gpus), sum(kind.room({"CPU": cpus, "GPU": gpus}) for kind in kinds))
    largest, grows = _largest()
    sizes = [largest.get(name, 0.0) // amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount]
    return max(room_now(cpus, gpus), int(min(sizes)) if grows else 0)


def largest_cluster() -> dict[str, float]:
    """Return the resources of the cluster, grown to its full size where that is known."""
    largest, _ = _largest()
    told: Counter[str] = Counter()
    for kind in told_node_types() or ():
        told.update({name: kind.most * amount for name, amount in kind.resources.items()})
    return {name: max(largest.get(name, 0.0), told[name]) for name in largest.keys() | told.keys()}


def _largest() -> tuple[dict[str, float], bool]:
    """Return the resources of the cluster grown to its full size, and whether it may grow."""
    now, to_come = ray.cluster_resources(), _most_to_come()
    names = now.keys() | to_come.keys()
    return {name: max(float(now.get(name, 0.0)), to_come.get(name, 0.0)) for name in names}, bool(to_come)


def _most_to_come() -> dict[str, float]:
    """Return the resources that an autoscaler has said to grow to; empty if it has not, or if there are more now."""
    now = ray.cluster_resources()
    most = {name: float(amount) for name, amount in (_limits() or {}).items()}
    return most if any(amount > now.get(name, 0.0) for name, amount in most.items()) else {}


def _limits() -> Mapping[str, float] | None:
    """Return the limits of an autoscaler that tells them to Ray; those of `ray up` and KubeRay do not."""
    from ray._private.state import state  # no public call tells them

    limits: Mapping[str, float] | None = state.get_max_resources_from_cluster_config()
    return limits
