"""Tasks that die for want of memory: tried again, by name, a few times; the work of the others stays."""

import sys

import pytest
from ray import cloudpickle

from ecellm.command_line import main
from ecellm.evaluation import evaluate
from ecellm.shards import WorkerLostError, run_shards
from ecellm.stages import load_stage
from tests.chaos import faults_engine
from tests.chaos.faults_chain import last_line, words_of
from tests.chaos.faults_engine import be_killed
from tests.conftest import ROOT
from tests.same_output import assert_same_output

cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(faults_engine)


def ask_for_too_much():
    """Ask for more memory than any machine has: what Python says where it may have no more."""
    bytearray(1 << 60)


def dying(log, die, most_deaths):
    """Return a shard's work: number 1 dies so many times before it does it."""

    def work(shard):
        if shard["number"] == 1 and len(log.read_text().split()) < most_deaths:
            with log.open("a") as file:
                file.write("death\n")
            die()
        return {"rows": shard["number"]}

    log.touch()
    return work


SHARDS = [{"number": number, "split": "train"} for number in range(4)]


@pytest.mark.parametrize("die", [be_killed, ask_for_too_much])
def test_a_shard_that_dies_is_done_again(local_ray, tmp_path, die):
    work = dying(tmp_path / "deaths", die, most_deaths=2)
    results = list(run_shards(SHARDS, work, name="preprocess"))
    assert sorted(result["rows"] for result in results) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("die", "why"),
    [(be_killed, "killed from outside, most often for want of memory"), (ask_for_too_much, "more memory")],
)
def test_one_that_always_dies_ends_the_job_after_the_others(local_ray, tmp_path, die, why):
    work, results = dying(tmp_path / "deaths", die, most_deaths=99), []
    message = rf"a part of preprocess \(number=1, split=train\) died: .*{why}.* GiB.*4 times.*num_workers"
    with pytest.raises(WorkerLostError, match=message):
        results.extend(run_shards(SHARDS, work, name="preprocess"))
    assert len((tmp_path / "deaths").read_text().split()) == 4
    # run_shards gave each result before it gave up
    gathered = []
    with pytest.raises(WorkerLostError):
        for result in run_shards(SHARDS, work, name="preprocess"):
            gathered.append(result["rows"])  # noqa: PERF401
    assert sorted(gathered) == [0, 2, 3]


@pytest.mark.chaos
def test_evaluate_keeps_what_is_scored_when_a_shard_always_dies(chain, tmp_path, monkeypatch, capsys):
    original, out = evaluate.evaluate_shard, tmp_path / "out"

    def deadly(shard, **arguments):
        if shard["number"] == 1:
            be_killed()
        return original(shard, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "evaluate_shard", deadly)
        assert main(load_stage("evaluate"), words_of("evaluate", chain, out)) == 1
    line = last_line(capsys.readouterr().out)
    assert line.startswith(
        "ecellm: exit=1 reason=the process of a part of evaluate (kind=run, number=1, setting=IND_"
    ), line
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("metrics/data/*.parquet")}
    assert len(kept) == len(list((chain / "evaluate").glob("metrics/data/*.parquet"))) - 1
    assert main(load_stage("evaluate"), words_of("evaluate", chain, out)) == 0
    assert {name: (out / "metrics" / "data" / name).stat().st_mtime_ns for name in kept} == kept
    assert_same_output(out, chain / "evaluate")


_HOG = """
import os, sys, time
sys.path.insert(0, {root!r})
import psutil
memory = psutil.virtual_memory()
os.environ["RAY_memory_usage_threshold"] = str((memory.total - memory.available + (2 << 30)) / memory.total)
os.environ["RAY_memory_monitor_refresh_ms"] = "100"
from ecellm.command_line import run_guarded
from ecellm.config import RayConfig
from ecellm.ray_session import connected
from ecellm.shards import run_shards

def hog(shard):
    if shard["number"] == 1:
        held = []
        for _ in range(60):
            held.append(bytearray(os.urandom(1 << 20) * 100))
            time.sleep(0.05)
    return {{"rows": 1}}

def body():
    with connected(RayConfig(num_cpus=4)):
        list(run_shards([{{"number": n}} for n in range(3)], hog, name="hog"))
    return "done"

sys.exit(run_guarded(body))
"""


@pytest.mark.chaos
def test_what_rays_own_watch_over_memory_kills_is_told_with_its_figures(tmp_path):
    import subprocess

    from tests.driver_process import environment_without_ray

    script = tmp_path / "hog.py"
    script.write_text(_HOG.format(root=str(ROOT)))
    result = subprocess.run(
        [sys.executable, str(script)], env=environment_without_ray(), capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    line = last_line(result.stdout)
    assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-3000:]
    assert "a part of hog (number=1) died: Memory on the node" in line
    assert "exceeds the memory usage threshold" in line
