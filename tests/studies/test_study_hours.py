"""How long what is left will take: counted in the samples, at the rate of what is done."""

import json

import pytest

from ecellm.config.study import Estimates
from ecellm.dataset.partitions import Partition
from ecellm.storage import Storage
from ecellm.studies import estimate
from tests.studies.test_grid import IND, OOD, SAMPLES, stages_of, study

PM, SA = "Product_Matching", "Sentiment_Analysis"
COUNTS = {
    Partition(IND, "train", PM): 200,
    Partition(IND, "train", SA): 1000,
    Partition("IND_Single_Instruction", "train", SA): 999,
    Partition(IND, "test", PM): 50,
    Partition(IND, "test", SA): 60,
    Partition(OOD, "test", SA): 70,
    Partition(f"{IND}_1-shot", "test", SA): 999,
}


@pytest.fixture
def nodes(tmp_path):
    config = study(
        {
            "generalist": {"kind": "generalist", "tasks": ["PM"]},
            "scaling": {"kind": "data_scaling", "num_samples": [300, 900]},
        },
        output_dir=str(tmp_path),
        finetune={"num_epochs": 2},
    )
    return stages_of(config)


def units(nodes):
    by_directory = {node.output_dir: node for node in nodes.values()}
    return {name: estimate.units_of(node, by_directory, COUNTS) for name, node in nodes.items()}


def test_samples_and_rows_are_counted(nodes):
    found = units(nodes)
    assert found["tuned/generalist"] == 2 * 1200
    assert found["tuned/n900"] == 2 * 900
    assert found["tuned/only-pm"] == 2 * 200
    assert found["tuned/n300"] == 2 * 300
    assert found["answers/generalist"] == 50 + 60 + 70
    assert found["answers/only-pm"] == 50
    assert found["rows/generalist"] is found["scores"] is None


def test_max_steps_and_limit_count(tmp_path):
    config = study(
        {"shots": {"kind": "shots"}},
        output_dir=str(tmp_path),
        finetune={"max_steps": 3, "global_batch_size": 64},
        predict={"limit": 55},
    )
    found = units(stages_of(config))
    assert found["tuned/generalist"] == 3 * 64
    assert found["answers/untuned"] == 50 + 55 + 55 + 55


def done(node, seconds, **details):
    manifest = json.dumps({"wall_seconds": seconds, "details": details})
    Storage().write_bytes(f"{node.output_dir}/_manifest.json", manifest.encode())


def test_what_is_done_here_counts_for_more_than_an_assumption(nodes):
    done(nodes["tuned/only-pm"], 40.0)
    done(nodes["tuned/n300"], 2.0, training_seconds=20.0)  # went on after a kill: the last attempt alone took 2 seconds
    done(nodes["answers/only-pm"], 1.0, rows_per_wall_second=None)
    finished = [nodes[name] for name in ("tuned/only-pm", "tuned/n300", "answers/only-pm")]
    measured = estimate.measured_rates(finished, units(nodes))
    assert measured == {("finetune", "org/base"): pytest.approx((400 + 600) / 60)}
    assumed = Estimates(trained_samples_per_second=1, answered_rows_per_second=4)
    rate, source = estimate.rate_of(nodes["tuned/generalist"], measured, assumed)
    assert (rate, source) == (pytest.approx(1000 / 60), "as the stages of its kind that are done here")
    assert estimate.rate_of(nodes["answers/generalist"], measured, assumed) == (4, "assumed by the recipe")
    assert estimate.rate_of(nodes["answers/generalist"], measured, Estimates()) is None


def test_another_model_s_stages_tell_until_one_of_its_own_is_done(tmp_path):
    studies = {"bases": {"kind": "base_models", "base_models": ["org/base", "org/other"]}}
    nodes = stages_of(study(studies, output_dir=str(tmp_path)))
    measured = {("finetune", "org/base"): 10.0}
    rate, source = estimate.rate_of(nodes["tuned/base-other"], measured, Estimates())
    assert (rate, source) == (10, "as other models' stages that are done here")


def test_rows_of_the_user_s_own_are_not_counted(tmp_path):
    own = {"samples": SAMPLES, "mine": {"job": "finetune", "config": {"rows_dir": "/other/rows"}}}
    nodes = stages_of(study({"shots": {"kind": "shots"}}, output_dir=str(tmp_path), stages=own))
    assert units(nodes)["mine"] is None


def test_no_cluster_gets_below_the_longest_chain():
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert estimate.longest_way({"a": 5, "b": 10, "c": 3, "d": 1}, needs) == 16
    assert estimate.longest_way({"c": 3}, needs) == 3


@pytest.mark.parametrize(("seconds", "text"), [(90, "1.5 min"), (7200, "2.0 h"), (5.4e6, "1,500.0 h")])
def test_times_are_told_in_hours(seconds, text):
    assert estimate.time_text(seconds) == text
