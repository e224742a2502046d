"""Encoders: what a class counts, and how a ranking is learned."""

import json
import math

import pytest
import torch

from ecellm.baselines.encoder import EncoderLearner
from ecellm.config import BaselineConfig
from ecellm.storage import Storage
from ecellm.tasks import task_named
from tests.baselines.tiny_encoder import write_tiny_encoder

OPTIONS = json.dumps(["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"])
WORDS = ["good", "bad", "fine", "lamp", "red", "blue"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", WORDS)


def learner_of(encoder, task, **fields):
    config = BaselineConfig(samples_dir="s", output_dir="o", kind="encoder", encoder=encoder, **fields)
    return EncoderLearner(config, task_named(task), Storage())


def review(text, option):
    return {"task": "Sentiment_Analysis", "input": text, "output": option, "options": OPTIONS}


REVIEWS = [review("good lamp", "A: very positive")] * 6 + [review("bad lamp", "E: very negative")] * 2


def test_balanced_classes_count_alike_and_rows_one_on_average(encoder):
    learner = learner_of(encoder, "SA", class_weights="balanced")
    examples = learner.examples(REVIEWS, is_training=True)
    weights = [learner.class_weights[int(example.target)].item() for example in examples]
    assert sum(weights) == pytest.approx(len(examples))
    assert sum(weights[:6]) == pytest.approx(sum(weights[6:]))
    assert learner.class_weights[1:4].tolist() == [0, 0, 0]  # classes that no row has


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_loss_is_the_cross_entropy_times_the_weight_of_its_class(encoder, class_weights):
    learner = learner_of(encoder, "SA", class_weights=class_weights)
    examples = learner.examples(REVIEWS, is_training=True)
    model = learner.new_model()
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        losses = learner.losses(model.eval(), [examples[0], examples[-1]], is_training=False).tolist()
    rare, common = (8 / (2 * 2), 8 / (2 * 6)) if class_weights == "balanced" else (1, 1)
    assert losses == pytest.approx([math.log(5) * common, math.log(5) * rare])


def test_validation_rows_leave_the_weights_as_they_are(encoder):
    learner = learner_of(encoder, "SA", class_weights="balanced")
    learner.examples(REVIEWS, is_training=True)
    before = learner.class_weights.clone()
    learner.examples(REVIEWS[-1:], is_training=False)
    assert torch.equal(learner.class_weights, before)


def test_a_ranking_is_learned_by_the_grade_of_each_candidate(encoder):
    listed = {"query": "red lamp", "product list": ["A: blue", "B: red lamp", "C: red"]}
    row = {"task": "Query_Product_Ranking", "input": json.dumps(listed), "output": "B,C,A", "options": None}
    learner = learner_of(encoder, "QPR")
    by_place = learner.examples([row | {"relevance": None}], is_training=True)
    assert [example.target for example in by_place] == [0.0, 1.0, 0.5]
    by_label = learner.examples([row | {"relevance": ["I", "E", "S"]}], is_training=True)
    assert [example.target for example in by_label] == pytest.approx([0, 1, 2 / 3])
    (answer,) = learner.answer(learner.new_model(), [row])
    assert sorted(answer.text.split(",")) == ["A", "B", "C"]
