"""A run goes on from the newest complete checkpoint, whatever Ray Train's list of checkpoints says."""

import json
import os
import shutil
import signal
import time

import pytest
from conftest import example_rows, write_rows
from test_finetune import STAGE, config, log_of, losses

from ecellm.errors import InputError
from ecellm.stage import Run, execute
from ecellm.storage import Storage
from ecellm.training import finetune, loop
from ecellm.training.recovery import LIST_NAME, find_checkpoints

pytestmark = pytest.mark.usefixtures("local_ray")
SHARD = "tensors-00001-of-00002.safetensors"


def noting(seen):
    """Return a worker that notes which steps it does, and the tasks whose answers are asked for."""

    def worker(settings):
        train_step, answer = loop.Trainer._train_step, loop.answer

        def noted_step(self, number, batch):
            (seen / str(number)).touch()
            train_step(self, number, batch)

        def noted_answer(engine, rows, *arguments, **named):
            (seen / "tasks").write_text(" ".join(row.task for row in rows))
            return answer(engine, rows, *arguments, **named)

        loop.Trainer._train_step, loop.answer = noted_step, noted_answer
        return loop.train_worker(settings)

    return worker


@pytest.fixture(scope="module")
def rows_dir(tmp_path_factory):
    tasks = ("Answer_Generation", "Product_Matching")
    val = [{**row, "task": tasks[number % 2]} for number, row in enumerate(example_rows(13, seed=1))]
    return write_rows(tmp_path_factory.mktemp("rows"), {"train": example_rows(50), "val": val})


@pytest.fixture(scope="module")
def settings(rows_dir, llama):
    def of(output, **changes):
        defaults = {"num_workers": 2, "eval_every_steps": 2, "keep_checkpoints": 4, "num_scored_samples": 4}
        return config(rows_dir, llama, output, **{**defaults, **changes})

    return of


@pytest.fixture(scope="module")
def unbroken(settings, tmp_path_factory, local_ray):
    output, seen = tmp_path_factory.mktemp("unbroken") / "out", tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "train_worker", noting(seen))
        execute(STAGE, settings(output))
    assert names(output) == [f"checkpoint-{step:08d}" for step in (2, 4, 6, 8)]
    assert (seen / "tasks").read_text().split() == ["Product_Matching"] * 4
    return output


def names(output):
    return sorted(path.name for path in (output / "checkpoints" / "run").glob("checkpoint-*"))


def list_of(output):
    return output / "checkpoints" / "run" / LIST_NAME


def damaged(unbroken, tmp_path, last_step):
    """Return a copy of the run as it was killed, its checkpoints up to one step."""
    output = tmp_path / "out"
    shutil.copytree(unbroken, output)
    for name in names(output):
        if int(name.rsplit("-", 1)[1]) > last_step:
            shutil.rmtree(output / "checkpoints" / "run" / name)
    for name in ("adapter", "training_log"):
        shutil.rmtree(output / name)
    return output


def leave_out_of_list(output, *steps):
    """Let the list be as it was before checkpoints were reported."""
    left = {f"checkpoint-{step:08d}" for step in steps}
    values = json.loads(list_of(output).read_text())
    pairs = zip(values["checkpoint_results"], values["checkpoint_report_indices"], strict=True)
    kept = [(result, index) for result, index in pairs if result["checkpoint_dir_name"] not in left]
    values["checkpoint_results"] = [result for result, _ in kept]
    values["checkpoint_report_indices"] = [index for _, index in kept]
    values["latest_checkpoint_result"] = values["checkpoint_results"][-1]
    list_of(output).write_text(json.dumps(values))


def go_on(settings, output, tmp_path, monkeypatch):
    """Run again; return the steps that were done."""
    seen = tmp_path / "seen"
    seen.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train_worker", noting(seen))
        STAGE.run(Run(settings(output), Storage(), str(output), "fingerprint", {}))
    return sorted(int(path.name) for path in seen.iterdir() if path.name.isdigit())


def assert_same(output, unbroken):
    for kind in ("train", "val"):
        assert [row["step"] for row in log_of(output, kind)] == [row["step"] for row in log_of(unbroken, kind)]
        assert losses(output, kind) == pytest.approx(losses(unbroken, kind), abs=1e-6)
    listed = [result["checkpoint_dir_name"] for result in json.loads(list_of(output).read_text())["checkpoint_results"]]
    assert sorted(listed) == names(output)
    assert not find_checkpoints(Storage(), str(output / "checkpoints")).defects


def test_a_list_that_was_cut_off_does_no_harm(unbroken, settings, tmp_path, monkeypatch):
    output = damaged(unbroken, tmp_path, last_step=6)
    list_of(output).write_bytes(list_of(output).read_bytes()[:200])
    assert go_on(settings, output, tmp_path, monkeypatch) == [7, 8]
    assert_same(output, unbroken)
    assert len(names(output)) == 4


def test_the_last_checkpoint_that_was_not_yet_listed_ends_the_run(unbroken, settings, tmp_path, monkeypatch):
    output = damaged(unbroken, tmp_path, last_step=8)
    leave_out_of_list(output, 8)
    assert go_on(settings, output, tmp_path, monkeypatch) == []
    assert_same(output, unbroken)
    weights = "adapter/adapter_model.safetensors"
    assert (output / weights).read_bytes() == (unbroken / weights).read_bytes()


def test_a_checkpoint_without_a_shard_is_passed_over(unbroken, settings, tmp_path, monkeypatch):
    output = damaged(unbroken, tmp_path, last_step=6)
    leave_out_of_list(output, 8)
    (output / "checkpoints" / "run" / "checkpoint-00000006" / SHARD).unlink()
    assert go_on(settings, output, tmp_path, monkeypatch) == [5, 6, 7, 8]
    assert_same(output, unbroken)


def test_checkpoints_none_of_which_is_complete_stop_the_run_with_the_reason(unbroken, settings, tmp_path):
    output = damaged(unbroken, tmp_path, last_step=8)
    for name in names(output):
        shard = output / "checkpoints" / "run" / name / SHARD
        shard.write_bytes(shard.read_bytes()[:100])
    again = Run(settings(output), Storage(), str(output), "fingerprint", {})
    with pytest.raises(InputError, match=rf"names checkpoint-00000008, .* its {SHARD} has 100 bytes.*the beginning"):
        STAGE.run(again)
    assert len(names(output)) == 4


def test_workers_started_again_agree_on_the_newest_complete_checkpoint(unbroken, settings, tmp_path, monkeypatch):
    """Inside one run: a worker dies, and with it its shard of the checkpoint that the list names last."""
    output, seen = tmp_path / "out", tmp_path / "seen"
    seen.mkdir()
    listed, shard = list_of(output), output / "checkpoints" / "run" / "checkpoint-00000004" / SHARD

    def dies_at_step_6(settings):
        step = loop.Trainer._train_step

        def train_step(self, number, batch):
            if number == 6 and self._rank == 1 and not (seen / "died").exists():
                (seen / "died").touch()
                deadline = time.monotonic() + 120
                while not listed.exists() or "checkpoint-00000004" not in listed.read_text():
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                shard.unlink()
                (seen / "damaged").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (seen / str(number)).open("a") as file:
                file.write(f"{self._rank}")
            step(self, number, batch)

        loop.Trainer._train_step = train_step
        return loop.train_worker(settings)

    monkeypatch.setattr(finetune, "train_worker", dies_at_step_6)
    execute(STAGE, settings(output, max_failures=1, keep_checkpoints=3))
    assert (seen / "damaged").exists()
    times = {path.name: len(path.read_text()) for path in seen.iterdir() if path.name.isdigit()}
    assert {name: number // 2 for name, number in times.items() if name != "6"} == {
        "1": 1, "2": 1, "3": 2, "4": 2, "5": 2, "7": 1, "8": 1
    }  # fmt: skip
    assert names(output) == ["checkpoint-00000004-1", "checkpoint-00000006", "checkpoint-00000008"]
    assert_same(output, unbroken)
