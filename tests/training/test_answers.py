import numpy as np

from ecellm.stages import load_stage
from ecellm.training.answers import picked_positions
from ecellm.training.batches import TrainingRow


def row(position, task):
    return TrainingRow(position, f"s{position}", np.array([1, 2, 3], np.int32), None, 2, task)


def test_picked_rows_are_spread_evenly_over_those_that_can_be_scored():
    rows = [row(position, "Answer_Generation" if position % 2 else "Product_Matching") for position in range(200)]
    can_score = load_stage("finetune").run.keywords["evaluator"].can_score
    assert picked_positions(rows, 4, can_score) == {0, 50, 100, 150}
    assert picked_positions(rows[:6], 10, can_score) == {0, 2, 4}
    assert picked_positions(rows[1::2], 10, can_score) == frozenset()
    assert picked_positions(rows, 0, can_score) == frozenset()
