"""What a cluster has room for: with the nodes that are there, and with those that an autoscaler may add."""

import pytest
from ray._private.state import state

from ecellm import resources
from ecellm.errors import InputError
from ecellm.resources import Room, check_room, room_at_most, room_for_a_task, room_now


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
        monkeypatch.setattr(resources, "may_bring_nodes", lambda: brings)

    return tell_of


def check(number, cpus, gpus=0):
    check_room(Room(what="num_workers=N", number=number, cpus=cpus, gpus=gpus, advice="lower num_workers"))


def check_room_for_tasks(name, memory=0):
    check_room(room_for_a_task(name, memory=memory))


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


def test_all_rooms_together_are_asked_for_within_a_minute(cluster, monkeypatch):
    now, patience = [0.0], []
    cluster({"CPU": 0.0}, brings=True)

    def takes_all_its_time(_what, _needs, _number, seconds):
        patience.append(seconds)
        now[0] += seconds
        return True

    monkeypatch.setattr(resources, "brings_nodes", takes_all_its_time)
    monkeypatch.setattr(resources.time, "monotonic", lambda: now[0])
    check_room(room_for_a_task("predict"), Room(what="one actor", number=1, cpus=1, gpus=1, advice="set use_gpu=false"))
    assert len(patience) == 2
    assert now[0] <= 60


def test_what_does_not_come_next_asks_for_no_nodes(cluster, monkeypatch):
    actor = Room(what="one actor", number=1, cpus=1, gpus=1, advice="set use_gpu=false")
    cluster({"CPU": 4.0}, brings=True)
    monkeypatch.setattr(resources, "brings_nodes", lambda *_: pytest.fail("nodes come and wait"))
    check_room(actor, may_ask=False)
    cluster({"CPU": 4.0}, brings=False)  # nobody could bring any
    with pytest.raises(InputError, match="needs 1 GPUs, but the cluster has 0"):
        check_room(actor, may_ask=False)


NODE_TYPES = '[{"max": 4, "CPU": 16, "memory": 64e9}, {"max": 2, "CPU": 96, "GPU": 8}]'


def test_node_types_in_the_environment_are_asked_instead(cluster, monkeypatch):
    cluster({"CPU": 0.0}, brings=True)
    monkeypatch.setenv("ECELLM_NODE_TYPES", NODE_TYPES)
    monkeypatch.setattr(resources, "brings_nodes", lambda *_: pytest.fail("nobody need be asked"))
    check(16, cpus=8, gpus=1)
    check(2, cpus=96, gpus=8)
    check(4 + 2 * 6, cpus=16)
    check_room_for_tasks("evaluate", memory=64e9)
    assert refusal(17, cpus=8, gpus=1) == (
        "num_workers=N: 17 with 8 CPUs, 1 GPUs each must run at once, but the nodes that ECELLM_NODE_TYPES allows hold "
        "16: lower num_workers, or allow more nodes"
    )
    assert "hold 0" in refusal(1, cpus=97)
    assert "hold 0" in refusal(1, cpus=1, gpus=9)
    assert room_at_most(16, 0) == 4 + 12
    assert room_at_most(1, 1) == 16
    cluster({"CPU": 200.0, "GPU": 32.0})  # more than it was told of
    check(17, cpus=8, gpus=1)


@pytest.mark.parametrize("text", ["16", "[16]", '[{"max": 4, "cpu": 16}]', '[{"max": "many"}]', "{", '[{"max": true}]'])
def test_node_types_that_are_none(cluster, monkeypatch, text):
    cluster({"CPU": 4.0})
    monkeypatch.setenv("ECELLM_NODE_TYPES", text)
    with pytest.raises(InputError, match="ECELLM_NODE_TYPES in the environment of the head is not what it should be"):
        check(1, cpus=1)


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
