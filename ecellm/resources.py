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
    largest = _largest_cluster()
    for resource, amount in (("CPU", number * cpus), ("GPU", number * gpus)):
        there = largest.get(resource, 0.0)
        if amount > there:
            raise InputError(
                f"{what} needs {amount:g} {resource}s, but the cluster has {there:g}: {advice}, or add nodes"
            )


def _largest_cluster() -> dict[str, float]:
    """Return the resources of the cluster now, or those its autoscaler may grow to if these are more."""
    from ray._private.state import state  # the only place that knows the autoscaler's limits

    resources = {name: float(amount) for name, amount in ray.cluster_resources().items()}
    for name, amount in (state.get_max_resources_from_cluster_config() or {}).items():
        resources[name] = max(resources.get(name, 0.0), float(amount))
    return resources
