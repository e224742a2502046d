from itertools import pairwise

import pytest

from ecellm.config import FinetuneConfig, OptimizerSettings
from ecellm.training.schedule import learning_rate, plan_steps


def config(**changes):
    return FinetuneConfig(rows_dir="rows", base_model="m", output_dir="out", global_batch_size=16, **changes)


def test_steps_count_a_short_last_batch():
    plan = plan_steps(config(num_epochs=3), 50)
    assert (plan.steps_per_epoch, plan.num_steps, plan.eval_every) == (4, 12, 4)
    assert plan_steps(config(max_steps=5), 50).num_steps == 5
    assert plan_steps(config(max_steps=5), 8).num_steps == 3


def test_validation_and_checkpoints_come_when_due_and_at_the_end():
    plan = plan_steps(config(max_steps=10, eval_every_steps=4, checkpoint_every_steps=3), 500)
    assert [s for s in range(1, 11) if plan.is_validation(s)] == [4, 8, 10]
    assert [s for s in range(1, 11) if plan.is_checkpoint(s)] == [3, 6, 9, 10]


def test_the_rate_rises_falls_and_is_never_wasted():
    settings = OptimizerSettings(learning_rate=1.0, warmup_ratio=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5, abs=0.01)
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.1), ("constant", 1.0)])
def test_other_schedules(schedule, last):
    settings = OptimizerSettings(learning_rate=1.0, warmup_ratio=0.0, schedule=schedule)
    assert learning_rate(settings, 1, 10) == 1.0
    assert learning_rate(settings, 10, 10) == pytest.approx(last)


def test_one_step_with_warm_up():
    assert learning_rate(OptimizerSettings(learning_rate=1.0), 1, 1) == 1.0
