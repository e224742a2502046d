"""RGCN: relations that only the graph tells, products that it has not seen, and no peeping at the answer."""

import json

import pytest
import torch

from ecellm.baselines.learner import learner_class
from ecellm.baselines.rgcn import hashed_words
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import task_named

OPTIONS = json.dumps(["A: also bought", "B: also viewed", "C: similar"])


def row(first, second, label=""):
    text = json.dumps({"Product 1:": first, "Product 2:": second})
    return {"input": text, "output": label, "options": OPTIONS}


@pytest.fixture
def learner():
    config = BaselineConfig(samples_dir="s", output_dir="o", kind="rgcn")
    return learner_class("rgcn")(config, task_named("PRP"), Storage())


def train(learner, rows, steps=60):
    torch.manual_seed(1)
    examples = learner.examples(rows, is_training=True)
    model = learner.new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        for part in (examples[::2], examples[1::2]):
            learner.losses(model, part, is_training=True).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    return model


def test_words_of_titles():
    words, offsets = hashed_words(["red lamp", "", "Lamp"])
    assert offsets.tolist() == [0, 2, 2]
    assert words[1] == words[2]
    assert [len(own) for own in hashed_words([])] == [0, 0]


def test_it_learns_relations_and_answers_for_products_it_has_not_seen(learner, tmp_path):
    kinds = {"A": ("tent", "pole"), "B": ("lamp", "bulb"), "C": ("desk", "table")}
    rows = [row(f"{one} {n}", f"{other} {n}", label) for label, (one, other) in kinds.items() for n in range(12)]
    model = train(learner, rows)
    asked = [row(f"{other} x", f"{one} y") for one, other in kinds.values()]
    assert [answer.text for answer in learner.answer(model, [*asked, {"input": "?", "options": None}])] == [
        "A",
        "B",
        "C",
        "",
    ]
    learner.save(model, tmp_path)
    again = learner_class("rgcn")(learner.config, learner.task, Storage())
    assert [answer.text for answer in again.answer(again.load(tmp_path), asked)] == ["A", "B", "C"]


def test_an_edge_is_out_of_the_graph_while_it_is_learned(learner):
    rows = [row("a", "b", "A"), row("c", "d", "B")]
    examples = learner.examples(rows, is_training=True)
    torch.manual_seed(1)
    model = learner.new_model().eval()
    hidden, seen = (learner.losses(model, examples[:1], is_training=own) for own in (True, False))
    learner.edges, learner.relations = learner.edges[:, 1:], learner.relations[1:]
    assert hidden.tolist() == learner.losses(model, examples[:1], is_training=False).tolist()
    assert hidden.tolist() != seen.tolist()


def test_so_are_all_edges_between_the_two_either_way_round(learner):
    examples = learner.examples([row("a", "b", "A"), row("b", "a", "A"), row("c", "d", "B")], is_training=True)
    torch.manual_seed(1)
    model = learner.new_model().eval()
    hidden = learner.losses(model, examples[:1], is_training=True)
    learner.edges, learner.relations = learner.edges[:, 2:], learner.relations[2:]
    assert hidden.tolist() == learner.losses(model, examples[:1], is_training=False).tolist()


def test_a_batch_of_all_rows_still_has_a_graph(learner):
    """However large a batch, no more than half of the edges are out at a time."""
    examples = learner.examples([row(f"a {n}", f"b {n}", "A") for n in range(4)], is_training=True)
    model = learner.new_model().eval()
    asked = learner.losses(model, examples, is_training=True).tolist()
    halves = [learner.losses(model, part, is_training=True).tolist() for part in (examples[:2], examples[2:])]
    assert asked == pytest.approx(halves[0] + halves[1])


def test_the_order_of_the_products_says_nothing(learner):
    examples = learner.examples([row("a", "b", "A"), row("c", "d", "B")], is_training=True)
    model = learner.new_model().eval()
    scores = learner._scores(model, [("a", "d"), ("d", "a")])
    torch.testing.assert_close(scores[0], scores[1])
    assert len(examples) == 2
