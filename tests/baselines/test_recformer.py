"""Recformer: texts of items, the latest first, and choices by what texts have in common."""

import math

import pytest
import torch

from ecellm.baselines.learner import learner_class
from ecellm.baselines.loop import freeze_unused
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import task_named
from tests.baselines.tiny_encoder import write_tiny_encoder

KINDS = ["lamp", "chair", "tea", "cup"]
WORDS = [*KINDS, "red", "blue", "green", "old"]


def row(history, candidates, target):
    return {
        "input": repr([f"{place}th: {text}" for place, text in enumerate(history)]),
        "options": repr([f"{chr(65 + place)}: {text}" for place, text in enumerate(candidates)]),
        "output": "" if target is None else chr(65 + target),
    }


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    base = write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", WORDS)
    config = BaselineConfig(samples_dir="s", output_dir="o", kind="recformer", encoder=base, max_length=12)
    return learner_class("recformer")(config, task_named("SR"), Storage())


def test_a_text_holds_the_latest_items_and_their_places(learner):
    learner.examples([], is_training=True)
    words = learner.tokenizer.convert_ids_to_tokens
    text = learner.text_of(["old lamp", "red chair"])
    assert words(text.ids) == ["[CLS]", "red", "chair", "old", "lamp", "[SEP]"]
    assert text.places == [0, 1, 1, 2, 2, 0]
    long = learner.text_of(["tea"] * 5 + ["red blue green old lamp chair", "cup old red blue"])
    assert len(long.ids) == 12 == len(long.places)
    assert words(long.ids)[1] == "cup"


def test_it_learns_to_choose_for_histories_that_it_has_not_seen(learner, tmp_path):
    """Whoever bought a red thing buys a red thing next."""
    colors = ["red", "blue", "green"]
    rows = [
        row([f"{color} {one}"], [f"{own} {other}" for own in colors], colors.index(color))
        for color in colors
        for one in KINDS
        for other in KINDS
        if (one, other) != ("tea", "cup")
    ]
    torch.manual_seed(1)
    examples = learner.examples(rows, is_training=True)
    model = learner.new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        learner.losses(model, examples, is_training=True).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    asked = [row([f"{color} tea"], [f"{own} cup" for own in reversed(colors)], None) for color in colors]
    answers = learner.answer(model, [*asked, {"input": "?", "options": "?"}])
    assert [answer.text for answer in answers] == ["C", "B", "A", ""]
    assert sum(math.exp(score) for score in answers[0].scores.values()) == pytest.approx(1, abs=1e-4)
    (loss,) = learner.losses(model, examples[:1], is_training=False).tolist()
    assert loss < 0.1
    learner.save(model, tmp_path / "saved")
    again = learner.answer(learner.load(tmp_path / "saved"), asked)
    assert [answer.text for answer in again] == ["C", "B", "A"]


def test_what_no_loss_depends_on_is_not_trained(learner):
    """Several workers would wait for its gradient."""
    examples = learner.examples([row(["red tea"], ["red cup", "blue cup"], 0)], is_training=True)
    model = learner.new_model()
    freeze_unused(model, learner, examples)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".pooler." in f".{name}"}
    assert frozen
    learner.losses(model, examples, is_training=True).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
