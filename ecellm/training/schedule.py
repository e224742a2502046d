"""The learning rate as a pure function of the step, and the steps of a run: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass

from ecellm.config import FinetuneConfig, OptimizerSettings
from ecellm.training.order import num_batches


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        steps_per_epoch: optimizer steps of one pass over the rows.
        num_steps: optimizer steps in all.
        eval_every: steps between validations.
        checkpoint_every: steps between checkpoints; None = after each validation.
    """

    steps_per_epoch: int
    num_steps: int
    eval_every: int
    checkpoint_every: int | None

    def is_validation(self, step: int) -> bool:
        """Tell whether the model is validated after `step`; it always is after the last."""
        return step % self.eval_every == 0 or step == self.num_steps

    def is_checkpoint(self, step: int) -> bool:
        """Tell whether a checkpoint is written after `step`; one always is after the last."""
        if self.checkpoint_every is None:
            return self.is_validation(step)
        return step % self.checkpoint_every == 0 or step == self.num_steps


def plan_steps(config: FinetuneConfig, num_rows: int) -> Plan:
    """Return the steps of training on `num_rows` rows."""
    steps_per_epoch = num_batches(num_rows, config.global_batch_size)
    num_steps = steps_per_epoch * config.num_epochs
    if config.max_steps is not None:
        num_steps = min(num_steps, config.max_steps)
    return Plan(steps_per_epoch, num_steps, config.eval_every_steps or steps_per_epoch, config.checkpoint_every_steps)


def learning_rate(settings: OptimizerSettings, step: int, num_steps: int) -> float:
    """Return the learning rate of optimizer step `step` (from 1).

    It rises linearly to its peak at the last warm-up step, then follows a half cosine or a line that would reach 0 one
    step after the last, so that no step is wasted on a rate of 0.
    """
    num_warmup = math.ceil(settings.warmup_ratio * num_steps)
    if step <= num_warmup:
        return settings.learning_rate * step / num_warmup
    progress = (step - 1 - num_warmup) / max(num_steps - num_warmup, 1)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
    return settings.learning_rate * (1.0 - progress if settings.schedule == "linear" else 1.0)
