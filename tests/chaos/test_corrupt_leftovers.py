"""A run that goes on where another was killed trusts what is there: what is damaged of it is made again."""

import shutil

import pytest

from ecellm.command_line import main
from ecellm.stages import load_stage
from tests.chaos.faults_chain import JOBS, words_of
from tests.chaos.faults_damage import cut_off, flip_bit, parts_of, unfinish
from tests.same_output import assert_same_output


@pytest.fixture
def resumed(chain, tmp_path):
    """Give a function: take a job's output as of a killed run, damage a part of it, run the job again."""

    def resume(job, fault, number=-1):
        out = tmp_path / "out"
        shutil.copytree(chain / job, out)
        unfinish(out)
        fault(parts_of(out, with_ids=fault is flip_bit)[number])
        assert main(load_stage(job), words_of(job, chain, out)) == 0
        return out

    return resume


@pytest.mark.parametrize("job", JOBS)
def test_a_damaged_part_is_made_again(resumed, chain, job, caplog):
    out = resumed(job, flip_bit)
    assert_same_output(out, chain / job)
    assert "1 damaged files are made again" in caplog.text


@pytest.mark.chaos
@pytest.mark.parametrize("job", JOBS)
def test_a_part_that_is_cut_off_is_made_again(resumed, chain, job):
    assert_same_output(resumed(job, cut_off, 0), chain / job)
