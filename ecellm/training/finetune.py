"""The finetune stage: a tuned model from training rows.

    python -m jobs.finetune rows_dir=rows base_model=MODEL output_dir=model num_workers=2

    adapter/ or model/     the tuned model (see export.py), merged/ on request
    training_log/data/     one row a step and a validation (schema TRAINING_LOG)
    checkpoints/           what a killed run goes on from

The driver only schedules: checks and export are tasks, training is Ray Train workers.
"""

from functools import partial
from typing import Any

import ray
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.models import fingerprint_with_model, locate
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, is_local
from ecellm.training.checkpoint import RUN_DIRECTORY
from ecellm.training.checks import check_model_and_rows, memory_of_a_gpu, room_of_workers
from ecellm.training.estimate import Facts, describe, refuse_if_too_large
from ecellm.training.export import Finished, finish
from ecellm.training.job import Evaluator, Job
from ecellm.training.loop import REFUSED, train_worker
from ecellm.training.process_group import torch_config
from ecellm.training.recovery import make_ready


def _inputs(config: FinetuneConfig) -> dict[str, str]:
    return {"rows_dir": absolute(config.rows_dir), "base_model": locate(config.base_model)}


def _check(config: FinetuneConfig, storage: Storage) -> tuple[str, ...]:
    inputs = _inputs(config)
    task = ray.remote(num_cpus=1, max_retries=0)(check_model_and_rows)
    facts: Facts = ray.get(task.remote(config, storage, inputs["rows_dir"], inputs["base_model"]))
    gpu_gib = memory_of_a_gpu(config)
    refuse_if_too_large(facts, config, gpu_gib)
    return describe(facts, config, gpu_gib)


def _run(run: Run[FinetuneConfig], evaluator: Evaluator | None) -> Outcome:
    inputs = _inputs(run.config)
    job = Job(
        config=run.config,
        storage=run.storage,
        rows_dir=inputs["rows_dir"],
        base_model=inputs["base_model"],
        output_dir=run.output_dir,
        evaluator=evaluator,
    )
    result = train(job)
    assert result.checkpoint is not None, "training ended without a checkpoint"
    task = ray.remote(num_cpus=1)(finish)
    finished: Finished = ray.get(task.remote(job, result.checkpoint))
    return _outcome(finished)


def train(job: Job) -> Result:
    """Train on Ray Train workers, from the newest complete checkpoint if there is one.

    Raises:
        InputError: training stopped for a reason that the user can mend, or none of its checkpoints is complete.
    """
    make_ready(job.storage, job.checkpoints_dir, job.config.keep_checkpoints)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=_scaling(job.config),
        run_config=run_config(
            job.storage,
            job.checkpoints_dir,
            failures=FailureConfig(max_failures=job.config.max_failures),
            checkpoints=CheckpointConfig(num_to_keep=job.config.keep_checkpoints),
        ),
        torch_config=torch_config(use_gpu=job.config.use_gpu),
    )
    result = trainer.fit()
    ended: dict[str, Any] = result.return_value or {}
    if REFUSED in ended:
        raise InputError(ended[REFUSED])
    return result


def _scaling(config: FinetuneConfig) -> ScalingConfig:
    elastic = config.min_workers is not None and config.min_workers < config.num_workers
    return ScalingConfig(
        num_workers=(config.min_workers, config.num_workers) if elastic else config.num_workers,
        use_gpu=config.use_gpu,
        resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})},
    )


def run_config(storage: Storage, path: str, *, failures: FailureConfig, checkpoints: CheckpointConfig) -> RunConfig:
    """Return where Ray Train keeps its state: a fixed name in a directory of the output, so that a later run finds it.

    Args:
        storage: access to it.
        path: the directory.
        failures: how often it goes on.
        checkpoints: which are kept.
    """
    filesystem = None
    if not is_local(path):
        fs, path = storage.filesystem(path)
        filesystem = PyFileSystem(FSSpecHandler(fs))
    return RunConfig(
        name=RUN_DIRECTORY,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=failures,
        checkpoint_config=checkpoints,
    )


def _outcome(finished: Finished) -> Outcome:
    train_rows = [row for row in finished.log if row["kind"] == "train"]
    first, last = train_rows[0]["loss"], train_rows[-1]["loss"]
    summary = [f"{len(train_rows):,} steps: training loss {first:.4f} -> {last:.4f}"]
    details: dict[str, Any] = {"num_steps": len(train_rows), "first_loss": first, "last_loss": last}
    if finished.best is not None:
        summary.append(f"best validation loss {finished.best.loss:.4f}, after step {finished.best.step:,}: exported")
        details |= {"best_step": finished.best.step, "best_validation_loss": finished.best.loss}
    else:
        summary.append("no validation rows: the last step's model is exported")
    if finished.is_stopped:
        summary.append("stopped early: the validation loss got no better")
    summary.append(f"written: {', '.join(f'{name}/' for name in finished.written)}")
    details |= {"written": finished.written, "training_seconds": round(finished.seconds, 3)}
    details |= {"is_stopped_early": finished.is_stopped}
    return Outcome(rows=len(finished.log), details=details, summary=tuple(summary))


def make_stage(evaluator: Evaluator | None) -> Stage[FinetuneConfig]:
    """Return the stage.

    Args:
        evaluator: scores answers to validation samples; None: the loss alone is looked at.
    """
    return Stage(
        job="finetune",
        version=3,
        config_class=FinetuneConfig,
        inputs=_inputs,
        check=_check,
        run=partial(_run, evaluator=evaluator),
        fingerprint_input=fingerprint_with_model("base_model"),
        room=room_of_workers,
    )
