"""Tasks that die for want of memory: tried again, by name, a few times; the work of the others stays."""

import sys

import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError

from ecellm.command_line import main
from ecellm.evaluation import evaluate
from ecellm.shards import WorkerLostError, run_shards, why_lost
from ecellm.stages import load_stage
from tests.chaos import faults_engine
from tests.chaos.faults_chain import last_line, words_of
from tests.chaos.faults_engine import be_killed
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
    assert sorted(result["rows"] for result in results) == [0, 2, 3]


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


def test_rays_own_watch_over_memory_is_told_with_its_figures():
    text = (
        "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.1, ID: ab) where the "
        "task (task ID: c, name=evaluate) was running was 22.10GB / 23.40GB (0.944444), which exceeds the memory usage "
        "threshold of 0.94. Ray killed this worker (ID: d) because it was the most recently scheduled task."
    )
    told = why_lost(OutOfMemoryError(text))
    assert told.startswith("Memory on the node (IP: 10.0.0.1")
    assert told.endswith("was 22.10GB / 23.40GB (0.944444), which exceeds the memory usage threshold of 0.94")
