"""What the tests of faults share: the chain of jobs that nothing disturbed."""

import pytest

from ecellm.command_line import main
from ecellm.stages import load_stage
from tests.chaos.faults_chain import JOBS, words_of, write_inputs


@pytest.fixture(scope="session")
def chain(tmp_path_factory, local_ray):
    """The chain, run once; not to be written to."""
    root = tmp_path_factory.mktemp("chain")
    write_inputs(root)
    for job in JOBS:
        assert main(load_stage(job), words_of(job, root)) == 0
    return root
