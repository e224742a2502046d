"""gSASRec: the loss by hand, causality, and a pattern that counting cannot see."""

import math

import pytest
import torch

from ecellm.baselines.gsasrec import Example, GsasrecLearner, SelfAttention, gbce_beta
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import task_named


def learner(**sequence):
    config = BaselineConfig(samples_dir="s", output_dir="o", kind="gsasrec", sequence={"dropout": 0, **sequence})
    return GsasrecLearner(config, task_named("SR"), Storage())


def row(history, candidates, target):
    return {
        "input": repr([f"{place}th: {text}" for place, text in enumerate(history)]),
        "options": repr([f"{chr(65 + place)}: {text}" for place, text in enumerate(candidates)]),
        "output": "" if target is None else chr(65 + target),
    }


def test_beta_of_the_paper():
    assert gbce_beta(1, 101, 0.0) == pytest.approx(1.0)  # plain BCE
    assert gbce_beta(1, 101, 1.0) == pytest.approx(0.01)  # calibrated fully: alpha
    assert gbce_beta(256, 1001, 0.75) == pytest.approx(0.256 * (0.75 * (1 - 1 / 0.256) + 1 / 0.256))
    assert gbce_beta(50, 10, 0.75) == 1.0  # all items are negatives


def test_examples_number_the_items_and_leave_out_what_cannot_be_read():
    own = learner()
    rows = [row(["a", "b"], ["c", "d"], 1), row(["a"], ["c"], 5), {"input": "?", "options": "?", "output": "A"}]
    rows.append(row(["a"], ["c"], None))
    assert own.examples(rows, is_training=True) == [Example([1, 2], [3, 4], 1)]
    assert own.examples([row(["b", "new"], ["new", "d"], 0)], is_training=False) == [Example([2, 0], [0, 4], 0)]


def test_the_loss_is_the_paper_s():
    own = learner(num_negatives=3, hidden_size=8, calibration=0.5)
    examples = own.examples([row(["a", "b"], ["c", "d", "e", "f"], 0)], is_training=True)
    torch.manual_seed(1)
    model = own.new_model().eval()
    torch.manual_seed(2)
    [loss] = own.losses(model, examples, is_training=True)
    torch.manual_seed(2)
    drawn = torch.randint(1, 7, (1, 2, 3))[0]
    states = model(torch.tensor([[1, 2]]))[0].detach()
    items = model.items.weight.detach()
    beta, expected = gbce_beta(3, 6, 0.5), 0.0
    for state, target, negatives in zip(states, (2, 3), drawn, strict=True):
        positive = 1 / (1 + math.exp(-float(state @ items[target])))
        expected -= beta * math.log(positive)
        for item in negatives.tolist():
            if item != target:
                expected -= math.log(1 - 1 / (1 + math.exp(-float(state @ items[item]))))
    assert loss.item() == pytest.approx(expected / 2, rel=1e-5)


def test_a_position_sees_nothing_of_what_comes_after_it():
    model = SelfAttention(9, learner().config.sequence).eval()
    short, long = model(torch.tensor([[1, 2, 0]])), model(torch.tensor([[1, 2, 3]]))
    torch.testing.assert_close(short[:, :2], long[:, :2])


def train(own, rows, steps=150):
    examples = own.examples(rows, is_training=True)
    torch.manual_seed(1)
    model = own.new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        own.losses(model, examples, is_training=True).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_it_learns_what_the_last_purchase_calls_for(tmp_path):
    """Every item is as popular as the others, and all go together: only the order tells."""
    items = ["tea", "cup", "pot", "jam"]
    rows = []
    for start in range(4):
        around = [items[(start + step) % 4] for step in range(4)]
        rows.append(row([around[0], around[1]], [*around[2:], around[0], around[1]], 0))
    own = learner(num_negatives=3, hidden_size=16)
    model = train(own, rows)
    asked = [row([text], items, None) for text in items]
    answers = own.answer(model, asked)
    assert [answer.text for answer in answers] == ["B", "C", "D", "A"]
    assert sum(math.exp(score) for score in answers[0].scores.values()) == pytest.approx(1)

    own.save(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "items.json"}
    other = learner(num_negatives=3, hidden_size=16)
    again = other.answer(other.load(tmp_path), asked)
    assert [answer.text for answer in again] == ["B", "C", "D", "A"]


def test_what_training_has_not_seen_is_chosen_last():
    own = learner(num_negatives=2, hidden_size=8)
    model = train(own, [row(["a", "b"], ["c", "d"], 0)], steps=2)
    answers = own.answer(
        model, [row(["?"], ["new", "c"], None), {"input": "x", "options": "y"}, row(["a"], ["n"], None)]
    )
    assert [answer.text for answer in answers] == ["B", "", "A"]
