"""A node is gone, with all that worked on it: the job goes on by itself, on the others or once there is another."""

import pytest

from tests.chaos.cluster_jobs import PATIENCE_SECONDS, WORKERS, stop_worker
from tests.driver_process import wait_at_work

pytestmark = pytest.mark.timeout(2000)  # one wait after the other


def lose_a_node(cluster, job, process, number):
    """Lose one in the middle of its work, once the job has published a number of things."""
    job.wait_until_published(process, number)
    _, node = stop_worker(process, cluster.nodes, WORKERS[job.stage], job.log)
    cluster.kill_node(node)
    return node


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        pytest.param("samples", 5, marks=pytest.mark.chaos),
        ("after", 2),
        pytest.param("tuned", 1, marks=pytest.mark.chaos),
    ],
)
def test_the_job_goes_on_by_itself_on_the_nodes_that_are_left(cluster, make_job, tmp_path, stage, number):
    """Every node is full of actors in `after`: for the one that is lost there is no room on the others."""
    job = make_job(stage)
    process = job.start(cluster)
    lose_a_node(cluster, job, process, number)
    try:
        job.wait_until_done(process)
    finally:
        cluster.add_nodes(1, num_cpus=2)
    job.assert_undisturbed(tmp_path)


@pytest.mark.chaos
def test_training_that_has_no_room_left_waits_for_a_node(cluster, make_job, tmp_path):
    """Three workers on three nodes. With another one it goes on from its checkpoint."""
    job = make_job("tuned", changes=["cpus_per_worker=2", "num_workers=3"])
    process = job.start(cluster)
    node = lose_a_node(cluster, job, process, 1)
    left = f"a node has left the cluster: {node.ip}"
    wait_at_work(process, lambda: left in job.log.read_text(), job.log, PATIENCE_SECONDS)
    cluster.add_nodes(1, num_cpus=2)
    job.wait_until_done(process)
    assert "going on after step" in job.log.read_text()
    job.assert_undisturbed(tmp_path)


@pytest.mark.chaos
def test_without_a_node_the_job_waits_and_says_so(cluster, make_job, tmp_path):
    job = make_job("samples")
    process = job.start(cluster)
    lose_a_node(cluster, job, process, 5)
    for node in list(cluster.nodes):
        cluster.kill_node(node)
    try:
        wait_at_work(
            process,
            lambda: "no node of the cluster has a CPU: waiting" in job.log.read_text(),
            job.log,
            PATIENCE_SECONDS,
        )
    finally:
        cluster.add_nodes(3, num_cpus=2)
    job.wait_until_done(process)
    job.assert_undisturbed(tmp_path)
