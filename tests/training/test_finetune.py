"""The stage end to end on local Ray: what a user gets, and what happens when workers die."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import example_rows, make_llama, write_rows

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.schema import TRAINING_LOG
from ecellm.stage import Run, check_stage_room, execute, plan
from ecellm.stages import load_stage
from ecellm.storage import Storage
from ecellm.training import finetune, loop
from tests.driver_process import kill_with_its_ray, start_driver, wait_at_work

STAGE = load_stage("finetune")
pytestmark = pytest.mark.usefixtures("local_ray")


def config(rows_dir, model, output_dir, **changes):
    defaults = {
        "global_batch_size": 16,
        "num_epochs": 2,
        "eval_every_steps": 3,
        "lora": {"dropout": 0.0, "r": 4},
        "micro_batch_size": 4,
        "optimizer": {"learning_rate": 1e-2},
        "log_every_steps": 2,
        "max_failures": 0,
        "precision": "fp32",
    }
    return FinetuneConfig(
        rows_dir=str(rows_dir), base_model=str(model), output_dir=str(output_dir), **{**defaults, **changes}
    )


def log_of(output_dir, kind="train"):
    table = pq.read_table(output_dir / "training_log" / "data" / "part-00000.parquet")
    assert table.schema.names == TRAINING_LOG.names
    return [row for row in table.to_pylist() if row["kind"] == kind]


def losses(output_dir, kind="train"):
    return [row["loss"] for row in log_of(output_dir, kind)]


def validation_loss(model, rows):
    """Mean over samples, one by one, logits everywhere: nothing of ours."""
    values = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            if row["labels"] is not None:
                values.append(model(input_ids=ids, labels=torch.tensor([row["labels"]])).loss.item())
                continue
            labels = ids.clone()
            labels[:, : row["num_prompt_tokens"]] = -100
            values.append(model(input_ids=ids, labels=labels).loss.item())
    return float(np.mean(values))


@pytest.fixture(scope="module")
def adapter_run(rows_dir, llama, tmp_path_factory, local_ray):
    output = tmp_path_factory.mktemp("adapter_run") / "out"
    execute(STAGE, config(rows_dir, llama, output, num_workers=2, export_merged=True))
    return output


def test_plain_peft_loads_the_adapter_of_the_best_validation(adapter_run, llama):
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    best = min(losses(adapter_run, "val"))
    base = AutoModelForCausalLM.from_pretrained(llama)
    assert validation_loss(base, example_rows(13, seed=1)) > best + 0.1
    model = PeftModel.from_pretrained(base, adapter_run / "adapter").eval()
    assert validation_loss(model, example_rows(13, seed=1)) == pytest.approx(best, abs=1e-5)
    AutoPeftModelForCausalLM.from_pretrained(adapter_run / "adapter")
    assert len(AutoTokenizer.from_pretrained(adapter_run / "adapter")) > 100
    # The adapter on lm_head is there, the base model's embeddings are not.
    size = (adapter_run / "adapter" / "adapter_model.safetensors").stat().st_size
    assert size < 100_000


def test_the_merged_model_is_an_ordinary_model(adapter_run):
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(adapter_run / "merged").eval()
    best = min(losses(adapter_run, "val"))
    assert validation_loss(merged, example_rows(13, seed=1)) == pytest.approx(best, abs=1e-4)


def test_the_log_has_a_row_for_every_step(adapter_run):
    rows = log_of(adapter_run)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["step"] for row in log_of(adapter_run, "val")] == [3, 6, 8]
    assert rows[-1]["epoch"] == 2.0
    assert all(row["tokens_per_second"] > 0 and 0 <= row["padding_share"] < 0.5 for row in rows)
    manifest = json.loads((adapter_run / "_manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["details"]["best_validation_loss"] == min(losses(adapter_run, "val"))


def test_a_killed_run_goes_on_with_another_number_of_workers(adapter_run, rows_dir, llama, tmp_path, monkeypatch):
    output = tmp_path / "out"
    killed = config(rows_dir, llama, output, num_workers=1, export_merged=True)

    def dies_at_step_5(settings):
        step = loop.Trainer._train_step

        def train_step(self, number, batch):
            if number == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            step(self, number, batch)

        loop.Trainer._train_step = train_step
        return loop.train_worker(settings)

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train_worker", dies_at_step_5)
        with pytest.raises(Exception, match="Training failed"):
            execute(STAGE, killed)
    assert not (output / "_manifest.json").exists()
    execute(STAGE, killed.model_copy(update={"num_workers": 2, "micro_batch_size": 8}))
    for kind in ("train", "val"):
        assert [row["step"] for row in log_of(output, kind)] == [row["step"] for row in log_of(adapter_run, kind)]
        assert losses(output, kind) == pytest.approx(losses(adapter_run, kind), abs=1e-5)
    seconds = [row["seconds"] for row in log_of(output)]
    assert seconds == sorted(seconds)


def test_a_run_killed_at_its_export_trains_no_step_again(adapter_run, rows_dir, llama, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(adapter_run, output)
    for name in ("_manifest.json", "_run.json"):
        (output / name).unlink()
    shutil.rmtree(output / "adapter")
    resumed = STAGE.run(Run(config(rows_dir, llama, output, num_workers=1), Storage(), str(output), "fingerprint", {}))
    assert (output / "adapter" / "adapter_model.safetensors").read_bytes() == (
        adapter_run / "adapter" / "adapter_model.safetensors"
    ).read_bytes()
    assert resumed.details["num_steps"] == 8
    assert losses(output) == losses(adapter_run)


def test_another_way_to_cut_batches_and_a_smoke_test_change_no_loss(adapter_run, rows_dir, llama, tmp_path):
    output = tmp_path / "out"
    changes = {"packing": True, "micro_batch_tokens": 100, "micro_batch_size": 16, "smoke": True, "tensorboard": True}
    execute(STAGE, config(rows_dir, llama, output, num_workers=2, **changes))
    for kind in ("train", "val"):
        assert losses(output, kind) == pytest.approx(losses(adapter_run, kind), abs=1e-5)
    assert all(row["padding_share"] == 0 for row in log_of(output))
    assert list((output / "tensorboard").rglob("*tfevents*"))


def test_a_preemption_is_answered_with_a_checkpoint_and_the_killed_run_goes_on_from_it(
    adapter_run, rows_dir, llama, tmp_path, monkeypatch
):
    """Told of it after step 3, killed in step 5: the same number of workers gives the same losses."""
    output, seen = tmp_path / "out", tmp_path / "seen"
    seen.mkdir()
    told = config(rows_dir, llama, output, num_workers=2, eval_every_steps=100)

    def told_after_step_3(settings):
        import ray.train
        from ray.train import PreemptionInfo

        from ecellm.training import preemption

        done = []
        step = loop.Trainer._train_step

        def train_step(self, number, batch):
            if number == 5 and settings["dies"] and self._rank == 1:
                time.sleep(3)  # Ray Train's controller looks for reports now and then
                os.kill(os.getpid(), signal.SIGKILL)
            step(self, number, batch)
            done.append(number)
            (seen / f"{number}-{self._rank}").write_text(" ".join(row.sample_id for row in batch))

        loop.Trainer._train_step = train_step
        preemption._SECONDS_BETWEEN_LOOKS = 0.0  # after every step
        ray.train.get_preemption_info = lambda: PreemptionInfo(None, {"node": [0]}) if max(done) >= 3 else None
        return loop.train_worker(settings)

    for dies in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(
                finetune, "train_worker", lambda settings, dies=dies: told_after_step_3({**settings, "dies": dies})
            )
            if dies:
                with pytest.raises(Exception, match="Training failed"):
                    execute(STAGE, told)
                names = {path.name for path in (output / "checkpoints" / "run").glob("checkpoint-*")}
                assert names == {"checkpoint-00000003"}
                assert not (seen / "5-0").exists() or not (seen / "5-1").exists()
                [path.unlink() for path in seen.glob("[123]-*")]
            else:
                execute(STAGE, told)
    assert losses(output) == pytest.approx(losses(adapter_run), abs=1e-6)
    assert not list(seen.glob("[123]-*")), "no step before the checkpoint was done again"
    # The second epoch, in which nothing was killed, and what the first had left: each sample once.
    second = [name for number in (5, 6, 7, 8) for name in (seen / f"{number}-0").read_text().split()]
    assert sorted(second) == sorted(row["sample_id"] for row in example_rows(50))


def test_it_stops_when_the_validation_loss_gets_no_better(rows_dir, llama, tmp_path):
    output = tmp_path / "out"
    changes = {"optimizer": {"learning_rate": 1.0, "warmup_ratio": 0.0}, "num_epochs": 10, "eval_every_steps": 1}
    execute(STAGE, config(rows_dir, llama, output, early_stopping_patience=2, **changes))
    validation = losses(output, "val")
    best = validation.index(min(validation))
    assert len(validation) == best + 3 < 40
    assert len(losses(output)) == len(validation)
    manifest = json.loads((output / "_manifest.json").read_text())
    assert manifest["details"]["is_stopped_early"]
    assert manifest["details"]["best_step"] == best + 1
    assert "brought no better loss" in (output / "adapter" / "README.md").read_text()


def test_validation_answers_are_scored_by_task(adapter_run):
    """The rows' answers follow from the prompt, but a run this short learns few of them."""
    scores = [dict(row["scores"]) for row in log_of(adapter_run, "val")]
    assert all(set(own) == {"PM"} for own in scores)
    assert all(0 <= own["PM"] <= 1 for own in scores)


@pytest.mark.slow
def test_as_many_workers_as_there_is_room_for(adapter_run, rows_dir, llama, tmp_path):
    """Of 8 workers that are wanted 6 CPUs hold fewer: training goes on with these, and computes the same."""
    output = tmp_path / "out"
    execute(STAGE, config(rows_dir, llama, output, num_workers=8, min_workers=1))
    for kind in ("train", "val"):
        assert losses(output, kind) == pytest.approx(losses(adapter_run, kind), abs=1e-5)


@pytest.mark.slow
def test_a_killed_job_goes_on_inside_the_epoch(adapter_run, rows_dir, llama, tmp_path):
    """SIGKILL to the driver and all of its Ray once the first checkpoint is there."""
    output, log = tmp_path / "out", tmp_path / "log"
    settings = config(rows_dir, llama, output, num_workers=2, export_merged=True, log_every_steps=1)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(settings.model_dump(mode="json")))
    process = start_driver("finetune", [str(recipe)], log)
    wait_at_work(process, lambda: list((output / "checkpoints").rglob("checkpoint-*/state.json")), log)
    kill_with_its_ray(process)
    assert not (output / "_manifest.json").exists()
    assert start_driver("finetune", [str(recipe)], log).wait(180) == 0, log.read_text()
    for kind in ("train", "val"):
        assert losses(output, kind) == pytest.approx(losses(adapter_run, kind), abs=1e-6)


@pytest.mark.slow
def test_full_fine_tuning_with_weights_spread_over_workers(rows_dir, llama, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "out"
    execute(STAGE, config(rows_dir, llama, output, method="full", num_workers=2, deepspeed={"stage": 3}))
    model = AutoModelForCausalLM.from_pretrained(output / "model").eval()
    assert validation_loss(model, example_rows(13, seed=1)) == pytest.approx(min(losses(output, "val")), abs=1e-5)
    AutoTokenizer.from_pretrained(output / "model")


def test_sequence_to_sequence(seq2seq_rows_dir, t5, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    output = tmp_path / "out"
    execute(STAGE, config(seq2seq_rows_dir, t5, output))
    model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(t5), output / "adapter").eval()
    rows = example_rows(9, seed=1, seq2seq=True)
    assert validation_loss(model, rows) == pytest.approx(min(losses(output, "val")), abs=1e-5)


def test_a_small_model_learns_its_samples_by_heart(llama, tmp_path):
    from transformers import AutoModelForCausalLM

    rows = write_rows(tmp_path / "rows", {"train": example_rows(8)})
    output = tmp_path / "out"
    changes = {"optimizer": {"learning_rate": 1e-2}, "global_batch_size": 8, "num_epochs": 60, "method": "full"}
    execute(STAGE, config(rows, llama, output, **changes, eval_every_steps=None, checkpoint_every_steps=60))
    assert losses(output)[0] == pytest.approx(np.log(160), abs=0.3)  # knows nothing: uniform over the vocabulary
    assert losses(output)[-1] < 0.05
    assert losses(output, "val") == []
    # Without validation rows the last step's model is exported: it answers every sample.
    model = AutoModelForCausalLM.from_pretrained(output / "model").eval()
    assert validation_loss(model, example_rows(8)) < losses(output)[-1] + 0.01


def test_a_run_that_diverges_stops_with_the_step_and_its_samples(llama, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = make_llama(tmp_path / "model")
    weights = load_file(broken / "model.safetensors")
    weights["model.embed_tokens.weight"][155] = float("nan")  # one token poisons the samples that hold it
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    rows = write_rows(tmp_path / "rows", {"train": example_rows(50)})
    poisoned = {row["sample_id"] for row in example_rows(50) if 155 in row["input_ids"]}
    with pytest.raises(InputError, match="not finite") as error:
        execute(STAGE, config(rows, broken, tmp_path / "out", micro_batch_size=1))
    named = set(str(error.value).split("samples: ")[1].split(")")[0].split(", "))
    assert named
    assert named <= poisoned


def check(config_):
    check_stage_room(STAGE, config_)
    STAGE.check(config_, Storage())


def test_what_cannot_work_is_refused_before_it_starts(rows_dir, seq2seq_rows_dir, llama, t5, tmp_path):
    out = tmp_path / "out"
    check(config(rows_dir, llama, out))
    with pytest.raises(InputError, match=r"needs 99 CPUs, but the cluster has 6"):
        check(config(rows_dir, llama, out, num_workers=99))
    with pytest.raises(InputError, match=r"min_workers=7 with cpus_per_worker=1 needs 7 CPUs.*lower min_workers"):
        check(config(rows_dir, llama, out, num_workers=99, min_workers=7))
    check(config(rows_dir, llama, out, num_workers=99, min_workers=6))
    with pytest.raises(InputError, match="are not packed"):
        check(config(seq2seq_rows_dir, t5, out, packing=True, micro_batch_tokens=100))
    with pytest.raises(InputError, match="needs 1 GPUs, but the cluster has 0"):
        check(config(rows_dir, llama, out, use_gpu=True))
    with pytest.raises(InputError, match="does not exist"):
        plan(STAGE, config(rows_dir, tmp_path / "nowhere", out))


def test_rows_of_another_model_are_refused(rows_dir, seq2seq_rows_dir, llama, t5, tmp_path):
    from ecellm.training.checks import check_model_and_rows

    def check_rows(rows, model):
        check_model_and_rows(config(rows, model, tmp_path / "out"), Storage(), str(rows), str(model))

    check_rows(rows_dir, llama)
    check_rows(seq2seq_rows_dir, t5)
    with pytest.raises(InputError, match="made for a sequence-to-sequence model"):
        check_rows(seq2seq_rows_dir, llama)
    with pytest.raises(InputError, match="made for a causal model"):
        check_rows(rows_dir, t5)
    rows = example_rows(3)
    rows[1]["input_ids"][0] = 160
    with pytest.raises(InputError, match=r"token ids up to 160, but .* knows 160"):
        check_rows(write_rows(tmp_path / "large", {"train": rows}), llama)
    with pytest.raises(InputError, match="holds no training rows"):
        check_rows(write_rows(tmp_path / "none", {"val": example_rows(3)}), llama)
    other = write_rows(tmp_path / "other", {"train": example_rows(3)})
    (other / "_manifest.json").write_text(json.dumps({"details": {"tokenizer_fingerprint": "another"}}))
    with pytest.raises(InputError, match="run preprocess with this model"):
        check_rows(other, llama)
