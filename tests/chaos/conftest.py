"""Jobs to break on the test cluster, and a short chain of jobs that nothing disturbed."""

import pytest

from ecellm.command_line import main
from ecellm.stages import load_stage
from tests.chaos.cluster_jobs import ClusterJob
from tests.chaos.faults_chain import JOBS, words_of, write_inputs

# As many workers and actors as there are nodes, each of a node's size: all nodes are at work.
_CHANGES = {"after": ["num_actors=3", "cpus_per_actor=2"], "tuned": ["cpus_per_worker=2", "num_workers=2"]}


@pytest.fixture
def make_job(store, uploaded, undisturbed, tmp_path):
    """Make a stage's job with a bucket of its own."""
    jobs = []

    def make(stage, **fields):
        bucket = f"chaos-{tmp_path.name.replace('_', '-')}"
        store.filesystem().mkdir(bucket)
        fields = {"changes": _CHANGES.get(stage, [])} | fields
        jobs.append(ClusterJob(stage, bucket, uploaded, undisturbed, store, tmp_path / "log", **fields))
        return jobs[-1]

    yield make
    for driver in (driver for job in jobs for driver in job.drivers):
        driver.kill()
        driver.wait()


@pytest.fixture(scope="session")
def chain(tmp_path_factory, local_ray):
    """The chain, run once; not to be written to."""
    root = tmp_path_factory.mktemp("chain")
    write_inputs(root)
    for job in JOBS:
        assert main(load_stage(job), words_of(job, root)) == 0
    return root
