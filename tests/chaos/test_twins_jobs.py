"""The same command given twice at once, and two that differ: one job writes, the other leaves, the data are as of one."""

import json
import signal
import time

import pytest

from tests.chaos.faults_chain import last_line, words_of
from tests.driver_process import start_driver, wait_at_work
from tests.same_output import assert_same_output

pytestmark = pytest.mark.chaos


def run_at_once(commands, environment, tmp_path):
    """Run predict as often as there are lists of words, all at the same time; return (exit code, last line) of each."""
    logs = [tmp_path / f"log-{number}-{time.monotonic_ns()}" for number in range(len(commands))]
    processes = [start_driver("predict", words, log, environment) for words, log in zip(commands, logs, strict=True)]
    return [(process.wait(), last_line(log.read_text())) for process, log in zip(processes, logs, strict=True)]


def is_over(code, line):
    """Tell whether a twin ended as it should where another one wrote: refused, or late and with nothing left to do."""
    return (code == 3 and "another run" in line) or (code == 3 and "was taken by" in line) or code == 0


@pytest.fixture(params=["local", "s3"])
def place(request, chain, tmp_path):
    """Where the samples are and answers go, how to reach it, and how to fetch what was written."""
    if request.param == "local":
        return str(chain), lambda out: str(tmp_path / out), {}, [], lambda out: tmp_path / out
    store = request.getfixturevalue("store")
    fs = store.filesystem()
    fs.makedirs("twin-jobs-test", exist_ok=True)
    fs.put(str(chain / "ingest"), "twin-jobs-test/ingest", recursive=True)

    def fetched(out):
        fs.get(f"twin-jobs-test/{out}", str(tmp_path / out), recursive=True)
        return tmp_path / out

    words = [f"storage.endpoint_url={store.endpoint_url}"]
    return "s3://twin-jobs-test", lambda out: f"s3://twin-jobs-test/{out}", store.environment, words, fetched


def test_a_twin_of_a_run_that_is_at_work_is_refused(place, chain, tmp_path):
    """The first is halted as soon as it holds the output, so that it cannot be done when the other comes."""
    root, url_of, environment, more, fetched = place
    words = [*words_of("predict", root, url_of("held")), *more, "ray.num_cpus=4"]
    log = tmp_path / "log"
    first = start_driver("predict", words, log, environment)
    wait_at_work(first, lambda: "predict: started, output in" in log.read_text(), log)
    first.send_signal(signal.SIGSTOP)
    try:
        ((code, line),) = run_at_once([words], environment, tmp_path)
    finally:
        first.send_signal(signal.SIGCONT)
    assert (code, first.wait()) == (3, 0), (line, log.read_text())
    assert f"pid {first.pid}" in line, line
    assert_same_output(fetched("held"), chain / "predict")
    owner = json.loads((fetched("held") / "_run.json").read_text())["owner"]
    assert owner["pid"] == first.pid, "the twin changed nothing"


def test_twins_many_times(place, chain, tmp_path):
    root, url_of, environment, more, fetched = place
    for number in range(3):
        words = [*words_of("predict", root, url_of(f"out-{number}")), *more, "ray.num_cpus=4"]
        ends = run_at_once([words, words], environment, tmp_path)
        assert all(is_over(*end) for end in ends), ends
        assert any(code == 0 for code, _ in ends), ends
        assert_same_output(fetched(f"out-{number}"), chain / "predict")


def test_two_configurations_at_once(place, chain, tmp_path):
    root, url_of, environment, more, fetched = place
    words = [*words_of("predict", root, url_of("two")), *more, "ray.num_cpus=4"]
    (code, line), (other_code, other_line) = run_at_once([words, [*words, "limit=5"]], environment, tmp_path)
    codes = sorted((code, other_code))
    assert codes in ([0, 2], [0, 3]), (line, other_line)
    if code == 0:
        assert_same_output(fetched("two"), chain / "predict")
    else:
        assert "another" in line, line
