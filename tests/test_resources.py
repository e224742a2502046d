"""What a cluster has room for: with the nodes that are there, and with those that an autoscaler may add."""

import pytest
from ray._private.state import state

from ecellm import resources
from ecellm.errors import InputError
from ecellm.resources import check_room, check_room_for_tasks, room_at_most, room_now


@pytest.fixture
def cluster(monkeypatch):
    """Return a function that makes Ray tell of these nodes, and of an autoscaler with these limits."""

    def tell_of(*nodes, most=None, dead=(), brings=False):
        total = {}
        for node in nodes:
            for name, amount in node.items():
                total[name] = total.get(name, 0.0) + amount
        told = [{"Alive": True, "Resources": node} for node in nodes]
        told += [{"Alive": False, "Resources": node} for node in dead]
        monkeypatch.setattr(resources.ray, "cluster_resources", lambda: total)
        monkeypatch.setattr(resources.ray, "nodes", lambda: told)
        monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: most)
        monkeypatch.setattr(resources, "brings_nodes", lambda *_: brings)

    return tell_of


def check(number, cpus, gpus=0):
    check_room("num_workers=N", number=number, cpus=cpus, gpus=gpus, advice="lower num_workers")


def refusal(number, cpus, gpus=0):
    with pytest.raises(InputError) as caught:
        check(number, cpus, gpus)
    return str(caught.value)


def test_without_an_autoscaler_it_is_what_is_there(cluster):
    cluster({"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0})
    check(2, cpus=4, gpus=1)
    check(8, cpus=1)
    check(4, cpus=0.5, gpus=0.5)
    assert refusal(9, cpus=1) == "num_workers=N needs 9 CPUs, but the cluster has 8: lower num_workers, or add nodes"
    assert refusal(3, cpus=1, gpus=1) == (
        "num_workers=N needs 3 GPUs, but the cluster has 2: lower num_workers, or add nodes"
    )
    assert (
        refusal(5, cpus=1.7) == "num_workers=N needs 8.5 CPUs, but the cluster has 8: lower num_workers, or add nodes"
    )


def test_a_resource_that_no_node_has_is_counted_as_none(cluster):
    cluster({"CPU": 4.0})
    assert refusal(1, cpus=1, gpus=1) == (
        "num_workers=N needs 1 GPUs, but the cluster has 0: lower num_workers, or add nodes"
    )


@pytest.mark.parametrize(
    ("now", "most"),
    [
        ({"CPU": 8.0}, {"CPU": 4, "GPU": 2}),  # more CPUs are there than the autoscaler's limits name
        ({"GPU": 2.0}, {"CPU": 8, "GPU": 1}),
        ({"CPU": 1.0}, {"CPU": 8, "GPU": 2}),
        ({"CPU": 8.0}, {"GPU": 2}),
    ],
)
def test_of_each_resource_the_larger_of_what_is_there_and_what_may_come(cluster, now, most):
    cluster(now, most=most)
    check(2, cpus=4, gpus=1)
    check(8, cpus=1)
    assert "needs 9 CPUs, but the cluster has 8:" in refusal(9, cpus=1)
    assert "needs 3 GPUs, but the cluster has 2:" in refusal(3, cpus=1, gpus=1)


def test_an_autoscaler_at_its_limits_adds_nothing(cluster):
    cluster({"CPU": 4.0}, {"CPU": 4.0}, most={"CPU": 6})
    check(8, cpus=1)
    assert "needs 9 CPUs, but the cluster has 8:" in refusal(9, cpus=1)
    assert "no node has 6 CPUs" in refusal(1, cpus=6)


def test_one_of_them_must_fit_on_one_node(cluster):
    cluster({"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}, dead=[{"CPU": 16.0}])
    check(1, cpus=4, gpus=1)
    assert refusal(1, cpus=6) == "num_workers=N: no node has 6 CPUs and 0 GPUs for one of them: lower num_workers"
    # Enough of both, but not on the same node.
    cluster({"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0})
    assert (
        refusal(1, cpus=2, gpus=1) == "num_workers=N: no node has 2 CPUs and 1 GPUs for one of them: lower num_workers"
    )


def test_nodes_that_may_come_are_given_the_benefit_of_the_doubt(cluster):
    """How large they are is not known beforehand."""
    cluster({"CPU": 4.0}, {"CPU": 4.0}, most={"CPU": 16})
    check(1, cpus=6)
    check(1, cpus=16)
    assert "needs 17 CPUs, but the cluster has 16:" in refusal(1, cpus=17)


def test_room_on_the_nodes_that_are_there(cluster):
    cluster({"CPU": 5.0, "GPU": 1.0}, {"CPU": 3.0}, dead=[{"CPU": 100.0, "GPU": 8.0}])
    assert [room_now(cpus, 0) for cpus in (1, 2, 4, 6)] == [8, 3, 1, 0]
    assert room_now(1, 1) == 1
    assert room_now(1, 0.5) == 2


def test_room_with_all_that_may_come(cluster):
    cluster({"CPU": 4.0}, most={"CPU": 16, "GPU": 2})
    assert room_at_most(1, 0) == 16
    assert room_at_most(1, 1) == 2
    cluster({"CPU": 8.0}, most={"CPU": 4, "GPU": 2})
    assert room_at_most(1, 0) == 8
    assert room_at_most(1, 1) == 2
    cluster({"CPU": 8.0})
    assert room_at_most(2, 0) == 4
    assert room_at_most(1, 1) == 0


def test_an_autoscaler_that_tells_no_limits_is_asked(cluster):
    """Those of `ray up` and KubeRay."""
    cluster({"CPU": 0.0}, brings=True)
    check(2, cpus=4, gpus=1)
    check_room_for_tasks("build")
    cluster({"CPU": 4.0}, most={"CPU": 6}, brings=True)
    assert "needs 9 CPUs, but the cluster has 6:" in refusal(9, cpus=1)  # what it has told is not asked again


def test_tasks_need_a_cpu_and_their_memory_on_one_node(cluster):
    cluster({})
    with pytest.raises(
        InputError, match=r"^a task of build needs 1 CPUs, but the cluster has 0: give its nodes more, or"
    ):
        check_room_for_tasks("build")
    gib = float(2**30)
    cluster({"CPU": 2.0, "memory": 0.5 * gib}, {"memory": 8 * gib})
    check_room_for_tasks("build")
    check_room_for_tasks("evaluate", memory=0.5 * gib)
    with pytest.raises(InputError, match=r"no node has 1 CPUs and 0 GPUs and 0\.6 GiB of memory for one of them"):
        check_room_for_tasks("evaluate", memory=0.6 * gib)
    with pytest.raises(InputError, match=r"needs 9\.0 GiB of memory, but the cluster has 8\.5: give its nodes more"):
        check_room_for_tasks("evaluate", memory=9 * gib)
