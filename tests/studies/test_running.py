"""Several stages at once: order, room, and what happens when one fails."""

import sys
from types import SimpleNamespace

import pytest

from ecellm.config import PredictConfig
from ecellm.errors import InputError, OutputHeldError, SurroundingsError
from ecellm.manifest import OutputState
from ecellm.resources import Room
from ecellm.stages import load_stage
from ecellm.studies import running
from ecellm.studies.running import Graph, booked_for, run_stages

NEEDS = {"samples": (), "a": ("samples",), "b": ("samples",), "c": ("samples",), "scores": ("a", "b", "c")}
# Notes when it begins and ends, and how; the notes' order is that of the clock.
WORK = """
import sys, time
log, name, code, seconds = sys.argv[1:]
def note(what):
    with open(log, "a") as file:
        file.write(f"{what} {name}\\n")
note("begins")
print("at work")
time.sleep(float(seconds))
note("ends")
print(f"ecellm: exit={code} reason=because of {name}")
sys.exit(int(code))
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs the graph with stages that take CPUs, and gives the log of what they did."""
    log = tmp_path / "log"

    def go(*, cpus=1, there=4, most=8, ends=None, done=(), refused=None, away=None, seconds=0.3):
        def node_of(name):
            if name == away:
                raise SurroundingsError("the store is away")
            if name == refused:
                raise InputError(f"{name} cannot be")
            room = Room(what="workers", number=cpus, cpus=1, advice="")
            stage = SimpleNamespace(job="job", room=lambda _: room)
            return SimpleNamespace(name=name, stage=stage, config=None, output_dir=f"out/{name}")

        def plan(stage, config):
            return SimpleNamespace(state=OutputState.DONE if planned[-1] in done else OutputState.ABSENT)

        planned = []

        def noted(name):
            node = node_of(name)
            planned.append(name)
            return node

        monkeypatch.setattr(running, "plan", plan)
        monkeypatch.setattr(running, "largest_cluster", lambda: {"CPU": float(there)})
        monkeypatch.setattr(running, "cpus_of_a_core", lambda: 1.0)

        def command_of(name):
            return [sys.executable, "-c", WORK, str(log), name, str((ends or {}).get(name, 0)), str(seconds)]

        run_stages(Graph(NEEDS, noted, command_of), most=most)

    def lines():
        return log.read_text().splitlines() if log.exists() else []

    return SimpleNamespace(go=go, lines=lines)


def most_at_once(lines):
    number = most = 0
    for line in lines:
        number += 1 if line.startswith("begins") else -1
        most = max(most, number)
    return most


def test_stages_wait_for_those_that_they_need_and_others_go_at_once(run, capfd):
    run.go()
    lines = run.lines()
    assert lines[:2] == ["begins samples", "ends samples"]
    assert lines[-2:] == ["begins scores", "ends scores"]
    assert most_at_once(lines) == 3
    assert "[samples] at work" in capfd.readouterr().out


@pytest.mark.parametrize("limits", [{"cpus": 3}, {"most": 1}, {"there": 1}])
def test_no_more_at_once_than_there_is_room_for(run, limits):
    run.go(**limits, seconds=0.05)
    assert most_at_once(run.lines()) == 1
    assert len(run.lines()) == 2 * len(NEEDS)


def test_what_could_never_have_room_is_left_to_its_own_check(run):
    run.go(cpus=9, seconds=0)
    assert len(run.lines()) == 2 * len(NEEDS)


def test_what_is_done_is_not_begun(run):
    run.go(done=("samples", "a"), seconds=0)
    assert {line.split()[1] for line in run.lines()} == {"b", "c", "scores"}


def test_bad_input_keeps_back_all_that_has_not_begun(run):
    with pytest.raises(
        InputError, match=r"1 of 5 stages failed: samples: because of samples; not begun: a, b, c, scor"
    ):
        run.go(ends={"samples": 2}, seconds=0)
    assert {line.split()[1] for line in run.lines()} == {"samples"}


@pytest.mark.parametrize(("code", "kind"), [(3, OutputHeldError), (1, SurroundingsError)])
def test_a_failure_keeps_back_what_needs_it_and_nothing_else(run, code, kind):
    with pytest.raises(kind) as failed:
        run.go(ends={"a": code}, seconds=0)
    message = str(failed.value)
    assert "1 of 5 stages failed: a: because of a" in message
    assert "not begun: scores" in message
    assert {line.split()[1] for line in run.lines()} == {"samples", "a", "b", "c"}


def test_a_store_that_gives_way_keeps_back_what_needs_the_stage_and_nothing_else(run):
    with pytest.raises(SurroundingsError, match="a: the store is away; not begun: scores"):
        run.go(away="a", seconds=0)
    assert {line.split()[1] for line in run.lines()} == {"samples", "b", "c"}


def test_predict_is_booked_for_what_its_actors_may_come_to_hold():
    there = {"CPU": 32.0, "GPU": 8.0}

    def booked(**fields):
        config = PredictConfig(samples_dir="s", output_dir="o", model="m", **fields)
        return booked_for(SimpleNamespace(stage=load_stage("predict"), config=config), there)

    assert booked(use_gpu=True) == {"CPU": 1.0, "GPU": 8.0}
    assert booked(use_gpu=True, num_actors=2) == {"CPU": 2.0, "GPU": 2.0}
    assert booked(cpus_per_actor=4) == {"CPU": 32.0}
    assert booked(engine="openai") == {"CPU": 1.0}


def test_a_stage_that_cannot_be_planned_has_failed(run):
    with pytest.raises(InputError, match="b: b cannot be"):
        run.go(refused="b", seconds=0)
    assert {line.split()[1] for line in run.lines()} == {"samples", "a"}  # a was at work already


def test_an_interrupted_run_leaves_nothing_at_work(run, monkeypatch):
    calls = []

    def sleep(seconds):
        calls.append(seconds)
        if len(calls) > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(running.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        run.go(seconds=60)
    assert "ends samples" not in run.lines()
