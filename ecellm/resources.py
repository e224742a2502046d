"""Whether the cluster could ever hold what a stage asks for: a job that waits for ever should say so at once."""

import ray

from ecellm.errors import InputError


def check_room(what: str, *, number: int, cpus: float, gpus: float, advice: str) -> None:
    """Raise if the cluster, grown to its full size, could not hold `number` processes at once.

    Args:
        what: the processes, as the user set them: "num_workers=2 with cpus_per_worker=1".
        number: how many must run at once.
        cpus: CPUs of each.
        gpus: GPUs of each.
        advice: what to change.

    Raises:
        InputError: there is no room; the message says what is there.
    """
    largest, grows = _largest()
    for resource, amount in (("CPU", number * cpus), ("GPU", number * gpus)):
        there = largest.get(resource, 0.0)
        if amount > there:
            raise InputError(
                f"{what} needs {amount:g} {resource}s, but the cluster has {there:g}: {advice}, or add nodes"
            )
    if not grows and not room_now(cpus, gpus):
        raise InputError(f"{what}: no node has {cpus:g} CPUs and {gpus:g} GPUs for one of them: {advice}")


def room_now(cpus: float, gpus: float) -> int:
    """Return how many processes of this size the nodes that are there hold at once."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            needs = [(node["Resources"].get(name, 0.0), amount) for name, amount in (("CPU", cpus), ("GPU", gpus))]
            room += int(min(there // amount for there, amount in needs if amount))
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
    """Return the resources that an autoscaler may grow the cluster to; empty without one, or if there are more now."""
    from ray._private.state import state  # the only place that knows the autoscaler's limits

    now = ray.cluster_resources()
    most = {name: float(amount) for name, amount in (state.get_max_resources_from_cluster_config() or {}).items()}
    return most if any(amount > now.get(name, 0.0) for name, amount in most.items()) else {}
