"""Whether an autoscaler brings the nodes that a stage lacks.

Ray's own autoscalers (`ray up`, KubeRay) tell no driver how far they may go, so one is asked by a true demand: a
placement group, which is removed as soon as the answer is known. Nodes that are on their way by then come anyway.

    no autoscaler    Ray's monitor only watches: it names every node `node_<id>`, or calls the demand infeasible
    version 1        reports the nodes that it is starting
    version 2        says up to which version of the demand it has looked, and which demands are infeasible
"""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_NAME_BY_A_WATCHER = "node_"


def may_bring_nodes() -> bool:
    """Tell, without demanding any, whether there is an autoscaler that could."""
    return not _only_watches(_report_of_version_1())


def brings_nodes(what: str, bundle: Mapping[str, float], number: int, seconds: float) -> bool:
    """Demand room that is not there; tell whether there is some now, or will be.

    Args:
        what: what it is for, in the log.
        bundle: resources of one process.
        number: how many processes must run at once.
        seconds: how long an answer is waited for; none is a no.
    """
    if not may_bring_nodes():
        return False
    question = _Question(bundle, number)
    group = placement_group([dict(bundle)] * number)
    try:
        comes = _wait(what, group, question, seconds)
    finally:
        remove_placement_group(group)
    if comes:
        logger.info("%s: nodes are on their way", what)
    return comes


def _wait(what: str, group: Any, question: "_Question", seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    is_told = False
    while time.monotonic() < deadline:
        if group.wait(_SECONDS_BETWEEN_LOOKS):
            return True
        answer = question.answer()
        if answer is not None:
            return answer
        if not is_told:
            logger.info("%s: there is no room yet; the autoscaler is asked, for %.0f s at most", what, seconds)
            is_told = True
    return False


class _Question:
    """Whether nodes come for a demand, asked again and again."""

    def __init__(self, bundle: Mapping[str, float], number: int) -> None:
        self._bundle = dict(bundle)
        self._number = number
        self._version: int | None = None  # of the demand, when this one was first seen in it

    def answer(self) -> bool | None:
        """Return whether nodes come; None while nobody knows."""
        report = _report_of_version_1()
        return self._read_version_2(_state_of_version_2()) if report is None else self._read_version_1(report)

    def _read_version_1(self, report: Mapping[str, Any]) -> bool | None:
        if _only_watches(report):
            return False
        coming, there = report.get("pending_resources") or {}, ray.cluster_resources()
        # Of memory it knows only where a node's type declares it.
        comes = all(
            coming.get(name, 0) + there.get(name, 0) >= self._number * self._bundle.get(name, 0)
            for name in ("CPU", "GPU")
        )
        return True if coming and comes else None

    def _read_version_2(self, reply: Any) -> bool | None:
        demand, found = reply.cluster_resource_state, reply.autoscaling_state
        if self._is_among(found.infeasible_gang_resource_requests):
            return False
        if self._version is None and self._is_among(demand.pending_gang_resource_requests):
            self._version = demand.cluster_resource_state_version
        is_seen = self._version is not None and found.last_seen_cluster_resource_state_version > self._version
        return True if is_seen else None

    def _is_among(self, gangs: Any) -> bool:
        requests = [request for gang in gangs for request in gang.requests]
        requests += [
            request for gang in gangs for chosen in gang.bundle_selectors for request in chosen.resource_requests
        ]
        return any(dict(request.resources_bundle) == self._bundle for request in requests)


def _only_watches(report: Mapping[str, Any] | None) -> bool:
    """Tell whether a report is of Ray's monitor, which adds no nodes."""
    names = ((report or {}).get("node_type_mapping") or {}).values()
    return bool(names) and all(name.startswith(_NAME_BY_A_WATCHER) for name in names)


def _report_of_version_1() -> Mapping[str, Any] | None:
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS  # what `ray status` prints
    from ray.experimental.internal_kv import _internal_kv_get

    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report: Mapping[str, Any] | None = json.loads(status).get("autoscaler_report") if status else None
    return report


def _state_of_version_2() -> Any:
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    client = ray._private.worker.global_worker.gcs_client  # noqa: SLF001  no public call tells a demand's fate
    reply.ParseFromString(client.get_cluster_status(timeout_s=10))
    return reply
