"""A disk is full: one message names it and what was written there; with room the same command goes on."""

import tempfile

import pyarrow as pa
import pytest

from ecellm import manifest
from ecellm.command_line import main
from ecellm.config import StorageConfig
from ecellm.errors import SurroundingsError
from ecellm.stages import load_stage
from ecellm.storage import Storage
from tests.chaos.faults_chain import JOBS, last_line, words_of
from tests.chaos.faults_disk import small_disk
from tests.same_output import assert_same_output


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.mark.parametrize("job", [pytest.param(job, marks=[pytest.mark.chaos] * (job != "predict")) for job in JOBS])
def test_a_job_whose_output_disk_is_full_goes_on_once_there_is_room(disk, chain, job, capsys, monkeypatch):
    out = disk.path / "out"
    disk.fill(kib_left=48)
    words = words_of(job, chain, out)
    assert main(load_stage(job), words) == 1
    line = last_line(capsys.readouterr().out)
    assert line.startswith(f"ecellm: exit=1 reason=no room for {out}/"), line
    assert f"({disk.path}, 0.0156 GiB) is full" in line
    assert line.endswith("Make room there; the same command goes on")
    assert not list(out.rglob(".*.tmp")), "nothing half-written stays"
    assert not (out / "_manifest.json").exists()
    disk.make_room()
    # There was no room even to give the directory back; the job's process, here the test's, is over by now.
    monkeypatch.setattr(manifest, "_is_dead_here", lambda _owner: True)
    assert main(load_stage(job), words) == 0
    assert_same_output(out, chain / job)


def test_a_disk_with_no_room_at_all(disk, chain, capsys):
    disk.fill(kib_left=0)
    words = words_of("predict", chain, disk.path / "out")
    assert main(load_stage("predict"), words) == 1
    assert f"reason=no room for {disk.path}/out/_run.json: the disk of" in last_line(capsys.readouterr().out)


def test_a_full_scratch_disk_is_named_when_objects_are_written(disk, store, monkeypatch):
    store.log_in(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    disk.fill(kib_left=8)
    storage = Storage(StorageConfig(endpoint_url=store.endpoint_url))
    table = pa.table({"x": [f"{number * 7919 % 10007}" for number in range(20_000)]})
    with pytest.raises(SurroundingsError, match=rf"a scratch file for s3://scratch-test/x: the disk of {disk.path}"):
        storage.write_table("s3://scratch-test/x", table)
