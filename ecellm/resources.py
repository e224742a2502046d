"""Whether the cluster could ever hold what a stage asks for: a job that waits for ever should say so at once."""

from collections.abc import Mapping

import ray

from ecellm.autoscaler import brings_nodes
from ecellm.errors import InputError

_MEMORY = "memory"  # in bytes, as Ray calls and counts it


def check_room(what: str, *, number: int, cpus: float, gpus: float, advice: str, memory: float = 0) -> None:
    """Raise if the cluster, grown to its full size, could not hold `number` processes at once.

    Where an autoscaler does not tell how far it may grow, it is asked, which may take 45 seconds.

    Args:
        what: the processes, as the user set them: "num_workers=2 with cpus_per_worker=1".
        number: how many must run at once.
        cpus: CPUs of each.
        gpus: GPUs of each.
        advice: what to change.
        memory: bytes that each reserves.

    Raises:
        InputError: there is no room; the message says what is there.
    """
    needs = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus), (_MEMORY, memory)) if amount}
    problem = _lack(what, number, needs, advice)
    if problem and (_has_told_its_limits() or not brings_nodes(what, needs, number)):
        raise InputError(problem)


def check_room_for_tasks(name: str, *, cpus: float = 1, memory: float = 0) -> None:
    """Raise `InputError` if no node could ever run a task.

    Args:
        name: what the tasks belong to.
        cpus: CPUs of one task; by default Ray's own one.
        memory: bytes that it reserves.
    """
    check_room(f"a task of {name}", number=1, cpus=cpus, gpus=0, memory=memory, advice="give its nodes more")


def _lack(what: str, number: int, needs: Mapping[str, float], advice: str) -> str | None:
    """Return what is missing for `number` processes, in a sentence; None if there is, or may come, room for them."""
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
    largest, grows = _largest()
    sizes = [largest.get(name, 0.0) // amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount]
    return max(room_now(cpus, gpus), int(min(sizes)) if grows else 0)


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


def _has_told_its_limits() -> bool:
    return _limits() is not None


def _limits() -> Mapping[str, float] | None:
    """Return the limits of an autoscaler that tells them to Ray; those of `ray up` and KubeRay do not."""
    from ray._private.state import state  # no public call tells them

    limits: Mapping[str, float] | None = state.get_max_resources_from_cluster_config()
    return limits
