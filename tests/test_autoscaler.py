"""Whether nodes come, by what an autoscaler of either version says; the texts are those of real ones."""

import pytest
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

from ecellm import autoscaler
from ecellm.autoscaler import brings_nodes

NODE = {"CPU": 1.0, "GPU": 2.0}
WATCHED = {"node_type_mapping": {"4830c9": "node_4830c9", "c9d92f": "node_c9d92f"}, "pending_resources": {}}


def of_version_1(**more):
    return {"node_type_mapping": {"10.0.0.1": "ray.head.default"}, "pending_nodes": [], **more}


def of_version_2(*, seen, demanded_since=None, infeasible=False, bundle=NODE):
    reply = GetClusterStatusReply()
    reply.autoscaling_state.last_seen_cluster_resource_state_version = seen
    reply.cluster_resource_state.cluster_resource_state_version = demanded_since or 0
    groups = [reply.cluster_resource_state.pending_gang_resource_requests] if demanded_since else []
    groups += [reply.autoscaling_state.infeasible_gang_resource_requests] if infeasible else []
    for group in groups:
        group.add().bundle_selectors.add().resource_requests.add().resources_bundle.update(bundle)
    return reply


class Group:
    """A placement group that is ready after some looks."""

    def __init__(self, ready_after):
        self.left = ready_after

    def wait(self, _seconds):
        self.left -= 1
        return self.left < 0


@pytest.fixture
def asked(monkeypatch):
    """Return a function that asks, given what is said look by look, and when the demand is met."""

    def ask(*said, ready_after=10**9, there=0.0):
        told, made = list(said), []
        monkeypatch.setattr(autoscaler, "placement_group", lambda bundles: made.append(bundles) or Group(ready_after))
        monkeypatch.setattr(autoscaler, "remove_placement_group", lambda _: made.append("removed"))
        monkeypatch.setattr(autoscaler.ray, "cluster_resources", lambda: {"CPU": 1.0, "GPU": there})

        def report():
            one = told.pop(0) if len(told) > 1 else told[0]
            return one if isinstance(one, dict) else None, one

        latest = []
        monkeypatch.setattr(autoscaler, "_report_of_version_1", lambda: latest.append(report()) or latest[-1][0])
        monkeypatch.setattr(autoscaler, "_state_of_version_2", lambda: latest[-1][1])
        answer = brings_nodes("num_workers=2", NODE, 2, 0.2)
        assert made in ([], [[NODE, NODE], "removed"])
        return answer, bool(made)

    return ask


NOTHING = GetClusterStatusReply()


def test_where_nobody_adds_nodes_nothing_is_demanded(asked):
    assert asked(WATCHED) == (False, False)
    assert asked(NOTHING, WATCHED) == (False, True)  # the monitor has just begun


def test_version_1_says_what_it_starts(asked):
    assert asked(of_version_1(), of_version_1(pending_resources={"CPU": 4, "GPU": 4})) == (True, True)
    half = of_version_1(pending_resources={"CPU": 4, "GPU": 2})
    assert asked(of_version_1(), half) == (False, True)  # one of the two nodes that it takes
    assert asked(of_version_1(), half, there=2.0) == (True, True)
    assert asked(of_version_1(pending_resources={"CPU": 8})) == (False, True)  # nodes without GPUs, for others
    assert asked(of_version_1()) == (False, True)


def test_version_2_calls_a_demand_infeasible_or_not(asked):
    assert asked(NOTHING, of_version_2(seen=5, demanded_since=7, infeasible=True)) == (False, True)
    seen_before_and_after = (of_version_2(seen=5, demanded_since=7), of_version_2(seen=8, demanded_since=9))
    assert asked(NOTHING, *seen_before_and_after) == (True, True)
    assert asked(of_version_2(seen=5, demanded_since=7)) == (False, True)  # it has never looked
    another = of_version_2(seen=5, demanded_since=7, infeasible=True, bundle={"CPU": 64.0})
    assert asked(another, *seen_before_and_after) == (True, True)


def test_room_that_comes_meanwhile_is_room(asked):
    assert asked(NOTHING, ready_after=2) == (True, True)
