"""Tells in a job's log which nodes the cluster lost, and that none is left: what would else be a silent wait."""

import logging
from types import TracebackType
from typing import Self

import ray

from ecellm.repeated import Repeated

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 5.0
_LOOKS_BETWEEN_REMINDERS = 12


class NodeWatch:
    """Looks at the cluster's nodes while its block runs, from a thread of its own.

    The work of a node that is lost is done again on others by whoever gave it out; what no node has room for waits
    for one, on a cluster that grows and on one that does not.
    """

    def __init__(self) -> None:
        self._looks = Repeated(self._watch, _SECONDS_BETWEEN_LOOKS, "ecellm-node-watch")
        self._alive = _alive_nodes()
        self._num_looks_without_cpus = 0

    def __enter__(self) -> Self:
        self._looks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._looks.stop()

    def _watch(self) -> bool:
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  the work itself meets a head that does not answer
            logger.debug("the cluster's nodes cannot be listed: %s", error)
        return True

    def _look(self) -> None:
        alive = _alive_nodes()
        for node in self._alive.keys() - alive.keys():
            logger.warning("a node has left the cluster: %s; what it had at work is done again", self._alive[node])
        self._alive = alive
        if ray.cluster_resources().get("CPU", 0):
            self._num_looks_without_cpus = 0
            return
        if self._num_looks_without_cpus % _LOOKS_BETWEEN_REMINDERS == 0:
            logger.warning("no node of the cluster has a CPU: waiting for one; the job may as well be stopped")
        self._num_looks_without_cpus += 1


def _alive_nodes() -> dict[str, str]:
    """Return the address of each node by its id."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
