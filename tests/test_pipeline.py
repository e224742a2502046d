"""A pipeline's wiring: which output goes where, and what cannot be wired."""

import json

import pandas as pd
import pytest

from ecellm.config import PipelineConfig
from ecellm.errors import InputError
from ecellm.pipeline import check_room_of, resolve, run_pipeline
from ecellm.recipe import validate
from ecellm.sources.synthetic import Sizes, write_qpr_labels, write_release
from ecellm.stages import load_stage

STAGE_SPECS = {
    "samples": {"job": "ingest", "config": {"release": "dataset.json"}},
    "rows": {"job": "preprocess", "needs": ["samples"]},
    "before": {"job": "predict", "needs": ["samples"]},
    "tuned": {"job": "finetune", "needs": ["rows"]},
    "after": {"job": "predict", "needs": ["samples", "tuned"]},
    "scores": {"job": "evaluate", "needs": ["samples", "before", "after", "tuned"]},
}


def pipeline(stages=None, defaults=None, **fields):
    return validate(
        PipelineConfig,
        {
            "output_dir": "/runs/x",
            "stages": stages or STAGE_SPECS,
            "defaults": defaults or {"base_model": "org/base"},
            **fields,
        },
        "test",
    )


def nodes(config):
    return {node.name: node.config for node in resolve(config, load_stage)}


def test_outputs_are_wired_by_what_they_are():
    made = nodes(pipeline(seed=7))
    assert next(iter(made)) == "samples"
    assert list(made)[-1] == "scores"
    assert made["rows"].samples_dir == "/runs/x/samples"
    assert made["tuned"].rows_dir == "/runs/x/rows"
    assert (made["before"].model, made["before"].adapter) == ("org/base", None)
    assert (made["after"].model, made["after"].adapter) == ("org/base", "/runs/x/tuned/adapter")
    assert made["scores"].predictions_dirs == ("/runs/x/before", "/runs/x/after")
    assert made["scores"].training_dirs == ("/runs/x/tuned",)
    assert {config.seed for config in made.values()} == {7}


def test_a_fully_tuned_model_answers_by_itself():
    made = nodes(pipeline(defaults={"base_model": "org/base", "method": "full"}))
    assert (made["after"].model, made["after"].adapter) == ("/runs/x/tuned/model", None)


BASE = {"base_model": "org/base", "base_model_revision": "v2"}


def test_the_base_models_revision_is_asked_before_and_after_tuning():
    made = nodes(pipeline(defaults=BASE))
    assert {made[name].base_model_revision for name in ("rows", "tuned")} == {"v2"}
    assert {made[name].model_revision for name in ("before", "after")} == {"v2"}


def test_an_adapter_is_asked_on_the_revision_that_it_was_tuned_on():
    own = {"base_model": "org/other", "base_model_revision": "v3"}
    stages = {**STAGE_SPECS, "tuned": {"job": "finetune", "needs": ["rows"], "config": own}}
    made = nodes(pipeline(stages, BASE))
    assert (made["before"].model, made["before"].model_revision) == ("org/base", "v2")
    assert (made["after"].model, made["after"].model_revision) == ("org/other", "v3")


@pytest.mark.parametrize("model", ["org/else", "/runs/x/tuned/merged"])
def test_another_model_does_not_get_the_base_models_revision(model):
    after = {"job": "predict", "needs": ["samples", "tuned"], "config": {"model": model, "adapter": None}}
    assert nodes(pipeline({**STAGE_SPECS, "after": after}, BASE))["after"].model_revision is None
    assert nodes(pipeline(defaults={**BASE, "method": "full"}))["after"].model_revision is None


def test_a_revision_that_predict_says_itself_wins():
    after = {"job": "predict", "needs": ["samples", "tuned"], "config": {"model_revision": "v9"}}
    assert nodes(pipeline({**STAGE_SPECS, "after": after}, BASE))["after"].model_revision == "v9"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": {"job": "preprocess", "needs": ["scores"]}}, "in a circle"),
        ({"rows": {"job": "preprocess", "needs": ["nothing"]}}, "needs 'nothing'"),
        ({"tuned": {"job": "finetune", "needs": ["samples"]}}, "takes no samples"),
        (
            {"rows": {"job": "preprocess", "needs": ["samples"], "config": {"max_lenght": 5}}},
            "did you mean 'max_length'",
        ),
        ({"rows": {"job": "cook"}}, "stages.rows.job"),
    ],
)
def test_what_cannot_be_wired_is_named(change, told):
    with pytest.raises(InputError, match=told):
        resolve(pipeline({**STAGE_SPECS, **change}), load_stage)


def test_a_stage_s_own_nested_values_leave_the_defaults_beside_them():
    stages = {**STAGE_SPECS, "tuned": {**STAGE_SPECS["tuned"], "config": {"lora": {"alpha": 32}}}}
    lora = nodes(pipeline(stages, {"base_model": "org/base", "lora": {"r": 8}}))["tuned"].lora
    assert (lora.r, lora.alpha) == (8, 32)


def test_a_default_that_no_stage_has_is_refused():
    with pytest.raises(
        InputError, match="no stage of this pipeline has a field 'max_lenght': did you mean 'max_length'"
    ):
        run_pipeline(pipeline(defaults={"base_model": "org/base", "max_lenght": 9}), load_stage, dry_run=True)


@pytest.mark.usefixtures("local_ray")
def test_finished_stages_are_skipped_and_a_dry_run_writes_nothing(tmp_path, capsys):
    write_release(tmp_path / "dataset.json", sizes=Sizes(train=8, val=2, test=6))
    write_qpr_labels(tmp_path / "qpr_labels.json", sizes=Sizes(train=8, val=2, test=6))
    predict = {"engine": "fake", "model": "none/none", "settings": ["IND_Diverse_Instruction"]}
    stages = {
        "samples": {"job": "ingest", "config": {"release": str(tmp_path / "dataset.json")}},
        "one": {"job": "predict", "needs": ["samples"], "config": predict},
        "two": {"job": "predict", "needs": ["samples"], "config": {**predict, "seed": 5}},
        "scores": {"job": "evaluate", "needs": ["samples", "one", "two"], "config": {"num_resamples": 50}},
    }
    stages["samples"]["config"]["qpr_labels"] = str(tmp_path / "qpr_labels.json")
    out = tmp_path / "run"
    config = pipeline(stages, {"max_length": 128}, output_dir=str(out))
    run_pipeline(config, load_stage, dry_run=True)
    shown = capsys.readouterr().out
    assert not out.exists()
    run_pipeline(config, load_stage, dry_run=False)
    fingerprints = {
        path.parent.name: json.loads(path.read_text())["fingerprint"] for path in out.glob("*/_manifest.json")
    }
    assert all(fingerprint in shown for fingerprint in fingerprints.values())
    assert len(fingerprints) == 4
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    run_pipeline(config, load_stage, dry_run=False)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before
    metrics = pd.read_parquet(out / "scores" / "metrics" / "data")
    headline = metrics[metrics["is_headline"] & (metrics["role"] == "ours") & (metrics["flavour"] == "strict")]
    assert headline["task"].nunique() == 10
    assert headline["value"].notna().sum() == 18  # nine tasks of two runs; AG needs a language model
    assert (out / "scores" / "report.html").exists()


@pytest.mark.usefixtures("local_ray")
def test_a_stage_that_could_never_be_scheduled_is_refused_before_the_first_one_begins(tmp_path, capsys):
    write_release(tmp_path / "dataset.json", sizes=Sizes(train=2, val=1, test=1))
    stages = {
        "samples": {"job": "ingest", "config": {"release": str(tmp_path / "dataset.json")}},
        "answers": {"job": "predict", "needs": ["samples"], "config": {"engine": "fake", "cpus_per_actor": 99}},
    }
    config = pipeline(stages, {"model": "none/none"}, output_dir=str(tmp_path / "run"))
    for dry_run in (True, False):
        with pytest.raises(InputError, match="stage answers: one actor with cpus_per_actor=99 needs 99 CPUs, but"):
            run_pipeline(config, load_stage, dry_run=dry_run)
    assert not (tmp_path / "run").exists()
    assert "answers (predict) -> " in capsys.readouterr().out
    (tmp_path / "run" / "answers").mkdir(parents=True)
    (tmp_path / "run" / "answers" / "_manifest.json").write_text("{}")
    check_room_of(resolve(config, load_stage)[1])  # what is done needs no room
