"""SIGKILL to a process that does the work, as the kernel does when memory is short: the job goes on by itself."""

import pytest

from tests.chaos.cluster_jobs import WORKERS, stop_worker


@pytest.mark.chaos
@pytest.mark.timeout(2000)
@pytest.mark.parametrize(("stage", "number"), [("samples", 5), ("after", 2), ("tuned", 1)])
def test_the_job_goes_on_by_itself(cluster, make_job, tmp_path, stage, number):
    job = make_job(stage)
    process = job.start(cluster)
    job.wait_until_published(process, number)
    worker, _ = stop_worker(process, cluster.nodes, WORKERS[stage], job.log)
    worker.kill()
    job.wait_until_done(process)
    job.assert_undisturbed(tmp_path)
