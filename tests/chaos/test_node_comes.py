"""Nodes come while predict is at work, as they do where a pool starts from nothing: they get actors."""

import pytest

from tests.chaos.cluster_jobs import PATIENCE_SECONDS, WORKERS, stop_worker
from tests.driver_process import wait_at_work

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2000)]


def test_nodes_that_come_get_actors(cluster, make_job, tmp_path):
    """The only actor is halted, so that the job cannot end before the others are there."""
    for node in cluster.nodes[1:]:
        cluster.kill_node(node)
    job = make_job("after", changes=["cpus_per_actor=2"])
    process = job.start(cluster)
    halted, _ = stop_worker(process, cluster.nodes, WORKERS["after"], job.log)
    new = cluster.add_nodes(2, num_cpus=2)
    wait_at_work(process, lambda: all(node.workers("_ShardActor") for node in new), job.log, PATIENCE_SECONDS)
    halted.resume()
    job.wait_until_done(process)
    job.assert_undisturbed(tmp_path)
