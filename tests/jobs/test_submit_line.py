"""The command line of `jobs.submit` where no cluster is needed: help, and mistakes told in one line."""

import pytest

from ecellm.command_line import run_guarded
from jobs.submit import submit
from tests.conftest import ROOT
from tests.object_store import free_ports

RECIPE = str(ROOT / "jobs" / "recipes" / "demo.yaml")


def run(capsys, *words):
    code = run_guarded(lambda: submit(words))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out.splitlines()[-1]


def test_help_tells_what_the_exit_codes_mean(capsys):
    with pytest.raises(SystemExit) as ended:
        submit(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for told in ("--retries", "RAY_AUTH_TOKEN", "http://127.0.0.1:8265", "3 another run holds the output"):
        assert told in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--retires", "3"], "unrecognized arguments: --retires"),
        ([RECIPE, "output_dir=/x", "--retries", "-1"], "--retries -1: give 0 or more"),
        ([RECIPE, "other.yaml", "output_dir=/x"], "one recipe at a time"),
        (["--job", "cook"], "invalid choice: 'cook'"),
        ([RECIPE, "--address", "head:6379"], "--address head:6379 is not where jobs are submitted"),
        (["nowhere.yaml"], "cannot read recipe nowhere.yaml"),
        ([RECIPE], "output_dir=demo-output/run would lie in the cluster's own copy of the code"),
    ],
)
def test_a_mistake_is_told_in_one_line(capsys, words, told):
    code, last = run(capsys, *words)
    assert code == 2
    assert last.startswith("ecellm: exit=2 reason=")
    assert told in last


def test_options_may_stand_between_the_words(capsys, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    (port,) = free_ports(1)
    code, last = run(capsys, RECIPE, "--address", f"http://127.0.0.1:{port}", "output_dir=/x", "--detach", "seed=2")
    assert code == 2
    assert "no Ray cluster answers" in last
