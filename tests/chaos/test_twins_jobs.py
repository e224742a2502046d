"""The same command given twice at once, and two that differ: one job writes, the other leaves, the data are as of one."""

import subprocess
import sys

import pytest

from tests.chaos.faults_chain import last_line, words_of
from tests.conftest import ROOT
from tests.driver_process import environment_without_ray
from tests.same_output import assert_same_output

pytestmark = pytest.mark.chaos


def run_at_once(commands, environment):
    """Run predict as often as there are lists of words, all at the same time; return (exit code, last line) of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "jobs.predict", *words],
            cwd=ROOT,
            env=environment_without_ray() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words in commands
    ]
    return [(process.wait(), last_line(output)) for process in processes for output in [process.communicate()[0]]]


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
    fs.mkdir("twin-jobs-test")
    fs.put(str(chain / "ingest"), "twin-jobs-test/ingest", recursive=True)

    def fetched(out):
        fs.get(f"twin-jobs-test/{out}", str(tmp_path / out), recursive=True)
        return tmp_path / out

    words = [f"storage.endpoint_url={store.endpoint_url}"]
    return "s3://twin-jobs-test", lambda out: f"s3://twin-jobs-test/{out}", store.environment, words, fetched


def test_twins_many_times(place, chain):
    root, url_of, environment, more, fetched = place
    for number in range(3):
        words = [*words_of("predict", root, url_of(f"out-{number}")), *more, "ray.num_cpus=4"]
        ends = run_at_once([words, words], environment)
        assert all(is_over(*end) for end in ends), ends
        assert any(code == 0 for code, _ in ends), ends
        assert_same_output(fetched(f"out-{number}"), chain / "predict")


def test_two_configurations_at_once(place, chain):
    root, url_of, environment, more, fetched = place
    words = [*words_of("predict", root, url_of("two")), *more, "ray.num_cpus=4"]
    (code, line), (other_code, other_line) = run_at_once([words, [*words, "limit=5"]], environment)
    codes = sorted((code, other_code))
    assert codes in ([0, 2], [0, 3]), (line, other_line)
    if code == 0:
        assert_same_output(fetched("two"), chain / "predict")
    else:
        assert "another" in line, line
