"""A build with every path on an S3 server, run as users run it: the rows of a build on local disk."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from ecellm.tasks import TASKS
from tests.conftest import ROOT
from tests.dataset.small_builds import assert_same_rows, quality
from tests.driver_process import environment_without_ray

RAW, OUT = "s3://build-test/raw", "s3://build-test/samples"


@pytest.fixture(scope="module")
def bucket(store):
    """An empty bucket."""
    fs = store.filesystem()
    fs.mkdir("build-test")
    return fs


def run(store, job, *arguments):
    """Run a job in a process of its own; return exit code and output."""
    environment = environment_without_ray() | store.environment
    result = subprocess.run(
        [sys.executable, "-m", f"jobs.{job}", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


def build(store):
    arguments = [f"raw_dir={RAW}", f"output_dir={OUT}", "held_out_rows=5"]
    return run(store, "build", *arguments, f"storage.endpoint_url={store.endpoint_url}")


def test_a_build_on_object_storage_gives_the_rows_of_a_local_one(store, bucket, world, built, tmp_path):
    code, output = run(store, "synthesize", RAW, "--scale", "2000", "--endpoint-url", store.endpoint_url)
    assert code == 0, output[-4000:]
    bucket.get("build-test/raw", str(tmp_path / "raw"), recursive=True)
    assert files_below(tmp_path / "raw") == files_below(world), "the world is the same, byte for byte"

    code, output = build(store)
    assert code == 0, output[-6000:]
    assert "ecellm: exit=0 reason=done" in output
    assert store.environment["AWS_SECRET_ACCESS_KEY"] not in output
    bucket.get("build-test/samples", str(tmp_path / "samples"), recursive=True)
    assert {path.name for path in (tmp_path / "samples").glob("data/*/split=train/*")} == {
        f"task={task.name}" for task in TASKS
    }
    assert_same_rows(tmp_path / "samples", built)
    assert quality(tmp_path / "samples") == quality(built)
    assert not [path for path in bucket.find("build-test/samples") if "/staging/" in path]
    with bucket.open("build-test/samples/quality/data/part-00000.parquet") as file:
        assert pq.read_metadata(file).num_rows == len(quality(built))

    before = {path: bucket.info(path)["LastModified"] for path in bucket.find("build-test/samples/data")}
    code, output = build(store)
    assert code == 0, output[-4000:]
    assert "already done" in output
    assert {path: bucket.info(path)["LastModified"] for path in bucket.find("build-test/samples/data")} == before


def files_below(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
