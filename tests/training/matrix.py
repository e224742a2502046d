"""Runs inside Ray Train workers: the same training under several settings, in one start of the workers."""

import dataclasses
import os

import torch

from ecellm.training.loop import Trainer


def losses_of(trainer, num_steps):
    """Train `num_steps` steps without reporting; return loss and gradient norm of each."""
    first = len(trainer._progress.rows)
    for done, (step, batch) in enumerate(trainer._batches(), 1):
        trainer._train_step(step, batch)
        trainer._state = dataclasses.replace(trainer._state, step=step)
        if done == num_steps:
            break
    trainer._progress.flush()
    return [(row["loss"], row["grad_norm"]) for row in trainer._progress.rows[first:]]


def train_matrix(settings):
    """For each job: losses of `num_steps` steps; and with `resume`, of the second half after restoring a new engine."""
    # A newcomer's machine: no compiler, and nothing compiled before.
    os.environ.update(PATH="/nonexistent", TORCH_EXTENSIONS_DIR=settings["extensions_dir"])
    results = {}
    for name, job in settings["jobs"].items():
        trainer = Trainer(job)
        half = settings["num_steps"] // 2
        losses = losses_of(trainer, half)
        # Every rank keeps all: what it holds may be restored with another number of shards.
        rank = torch.distributed.get_rank()
        saved = trainer._engine.gather(dict.fromkeys(trainer._engine.sizes, rank))
        state = trainer._state
        losses += losses_of(trainer, settings["num_steps"] - half)
        results[name] = {"losses": losses}
        for other in settings["resume"].get(name, ()):
            results[name][f"resumed by {other}"] = resumed(settings["jobs"][other], state, saved, settings)
    return results


def resumed(job, state, saved, settings):
    trainer = Trainer(job)
    trainer._engine.restore(saved, state.step)
    trainer._state = state
    return losses_of(trainer, settings["num_steps"] - settings["num_steps"] // 2)
