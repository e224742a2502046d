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
from ray.train import Result

from ecellm.config import FinetuneConfig
from ecellm.models import fingerprint_with_model, locate
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute
from ecellm.training.checks import check_model_and_rows, memory_of_a_gpu
from ecellm.training.estimate import Facts, describe, refuse_if_too_large
from ecellm.training.export import Finished, finish
from ecellm.training.job import Evaluator, Job
from ecellm.training.loop import train_worker
from ecellm.training.ray_train import room_of_workers, train_on_workers
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
    return train_on_workers(
        train_worker,
        job,
        num_workers=_num_workers(job.config),
        checkpoints_dir=job.checkpoints_dir,
        num_to_keep=job.config.keep_checkpoints,
    )


def _num_workers(config: FinetuneConfig) -> int | tuple[int, int]:
    """Return how many workers train, or the fewest and the most."""
    if config.min_workers is None or config.min_workers >= config.num_workers:
        return config.num_workers
    return config.min_workers, config.num_workers


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
