"""From studies to stages: what is shared, what each arm is tested on, and what is refused."""

import pytest

from ecellm.config.study import StudyConfig
from ecellm.dataset.partitions import Partition
from ecellm.errors import InputError
from ecellm.pipeline import resolve
from ecellm.recipe import load_config, validate
from ecellm.stages import load_stage
from ecellm.studies.grid import make_grid, pipeline_of, refuse_sizes, refuse_twins

SAMPLES = {"job": "ingest", "config": {"release": "dataset.json"}}
IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"


def study(studies, **fields):
    values = {"output_dir": "out", "defaults": {"base_model": "org/base"}, "stages": {"samples": SAMPLES}}
    return validate(StudyConfig, values | {"studies": studies} | fields, "recipe")


def stages_of(config, count_rows=lambda stage: None):
    return {node.name: node for node in resolve(pipeline_of(config, make_grid(config), count_rows), load_stage)}


def test_studies_share_models_and_models_share_rows():
    config = study(
        {
            "generalist": {"kind": "generalist", "tasks": ["PM", "SA"]},
            "scaling": {"kind": "data_scaling", "num_samples": [None, 500, 2000]},
            "rates": {
                "kind": "arms",
                "arms": {"slow": {"finetune": {"optimizer": {"learning_rate": 1e-5}}}, "as it is": {}},
            },
        }
    )
    stages = stages_of(config)
    assert set(stages) == {
        *("samples", "scores"),
        *(f"{part}/{model}" for part in ("tuned", "answers") for model in ("generalist", "only-pm", "only-sa")),
        *(f"{part}/{model}" for part in ("tuned", "answers") for model in ("n500", "n2000", "rates-slow")),
        *(f"rows/{model}" for model in ("generalist", "only-pm", "only-sa", "n500", "n2000")),
    }
    assert stages["tuned/rates-slow"].config.rows_dir == stages["rows/generalist"].output_dir
    assert stages["tuned/rates-slow"].config.optimizer.learning_rate == 1e-5
    assert stages["rows/n500"].config.num_samples == 500
    assert stages["rows/only-pm"].config.tasks == stages["answers/only-pm"].config.tasks == ("Product_Matching",)
    assert stages["answers/only-pm"].config.adapter == f"{stages['tuned/only-pm'].output_dir}/adapter"


def test_each_arm_is_tested_where_its_kind_says():
    config = study(
        {
            "instructions": {"kind": "instructions"},
            "shots": {"kind": "shots"},
            "bases": {"kind": "base_models", "base_models": ["org/base", "s3://bucket/other"]},
        }
    )
    stages = stages_of(config)
    shots = [f"{setting}_1-shot" for setting in (IND, OOD)]
    unseen = ["IND_Unseen_Instruction", "OOD_Unseen_Instruction"]
    assert sorted(stages["answers/generalist"].config.settings) == sorted([IND, OOD, *shots, *unseen])
    assert sorted(stages["answers/untuned"].config.settings) == sorted([IND, OOD, *shots])
    assert sorted(stages["answers/single"].config.settings) == sorted(
        ["IND_Single_Instruction", "OOD_Single_Instruction", *unseen]
    )
    assert stages["rows/single"].config.settings == ("IND_Single_Instruction",)
    assert stages["answers/untuned"].config.model == "org/base"
    assert stages["answers/base-other"].config.model == "s3://bucket/other"
    assert stages["rows/base-other"].config.base_model == "s3://bucket/other"
    assert "tuned/base-base" not in stages  # it is the generalist
    scores = stages["scores"].config
    names = [path.rsplit("/", 1)[-1] for path in scores.predictions_dirs]
    told = {
        (each.name, arm.name): ([names[number] for number in arm.runs], dict(arm.conditions), arm.against)
        for each in scores.studies
        for arm in each.arms
    }
    assert told["instructions", "diverse instructions"] == (
        ["generalist"],
        {"IND seen": IND, "OOD seen": OOD, "IND unseen": unseen[0], "OOD unseen": unseen[1]},
        "single instruction",
    )
    assert told["shots", "tuned, 1-shot"] == (["generalist"], {"IND": shots[0], "OOD": shots[1]}, "tuned, 0-shot")
    assert told["bases", "base"][0] == ["generalist"]
    assert told["bases", "other"] == (["base-other"], {"IND": IND, "OOD": OOD}, "base")
    assert [names[number] for number in scores.columns] == ["untuned", "generalist"]


def test_one_domain_alone():
    stages = stages_of(study({"shots": {"kind": "shots"}}, domains=["IND"]))
    assert set(stages["answers/generalist"].config.settings) == {IND, f"{IND}_1-shot"}


def test_an_arm_s_place_is_the_number_of_rows_that_it_learnt_from():
    config = study({"scaling": {"kind": "data_scaling", "num_samples": [500, None]}})
    rows = {"rows/n500": 498, "rows/generalist": 8000}
    (told,) = stages_of(config, rows.get)["scores"].config.studies
    assert [(arm.name, arm.x, arm.against) for arm in told.arms] == [("500", 498, "all"), ("all", 8000, None)]
    assert told.axis == "training samples"


def test_what_the_recipe_adds_is_scored_beside_and_shared():
    own = {
        "samples": SAMPLES,
        "before": {"job": "predict", "needs": ["samples"], "config": {"settings": [IND, OOD]}},
        "gsasrec": {"job": "baseline", "needs": ["samples"], "config": {"kind": "gsasrec"}},
    }
    arms = {"untuned": {"finetune": None}, "tuned": {"against": "untuned"}}
    stages = stages_of(study({"mine": {"kind": "arms", "arms": arms}}, stages=own))
    assert "answers/mine-untuned" not in stages  # the recipe's own stage does the same
    scores = stages["scores"].config
    assert [path.rsplit("/", 1)[-1] for path in scores.predictions_dirs] == ["before", "gsasrec", "generalist"]
    assert [arm.runs for arm in scores.studies[0].arms] == [(0,), (2,)]
    assert scores.columns == (0, 2)


def test_the_report_s_columns_do_not_hang_on_the_order_of_the_studies():
    studies = {
        "bases": {"kind": "base_models", "base_models": ["org/base", "org/other"]},
        "mine": {"kind": "arms", "arms": {"plain": {}}},
        "shots": {"kind": "shots"},
    }
    for names in (studies, list(reversed(studies))):
        scores = stages_of(study({name: studies[name] for name in names}))["scores"].config
        shown = [scores.predictions_dirs[number].rsplit("/", 1)[-1] for number in scores.columns]
        assert shown == ["untuned", "generalist"]


def test_a_revision_of_the_defaults_is_of_their_base_model_alone():
    studies = {"bases": {"kind": "base_models", "base_models": ["org/base", "org/other"]}}
    stages = stages_of(study(studies, defaults={"base_model": "org/base", "base_model_revision": "abc"}))
    assert stages["tuned/generalist"].config.base_model_revision == "abc"
    assert stages["answers/generalist"].config.model_revision == "abc"
    assert stages["tuned/base-other"].config.base_model_revision is None
    assert stages["answers/base-other"].config.model_revision is None


def test_names_of_arms_become_names_of_directories():
    arms = {"lr: 1e-4 #2": {"finetune": {"num_epochs": 1}}}
    assert "tuned/my-rates-lr-1e-4-2" in stages_of(study({"my rates": {"kind": "arms", "arms": arms}}))


def test_fields_of_all_stages_of_a_kind_are_below_those_of_an_arm():
    config = study(
        {"mine": {"kind": "arms", "arms": {"a": {"finetune": {"num_epochs": 1}}}}},
        preprocess={"max_length": 512},
        finetune={"num_epochs": 5, "micro_batch_size": 2},
        predict={"limit": 7},
        evaluate={"num_resamples": 50},
    )
    stages = stages_of(config)
    assert stages["rows/mine-a"].config.max_length == 512
    assert (stages["tuned/mine-a"].config.num_epochs, stages["tuned/mine-a"].config.micro_batch_size) == (1, 2)
    assert stages["answers/mine-a"].config.limit == 7
    assert stages["scores"].config.num_resamples == 50


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"stages": {"rows": SAMPLES}}, "stages must have one named samples"),
        ({"studies": {"a": {"kind": "data_scale"}}}, "studies.a"),
        ({"studies": {"a": {"kind": "data_scaling", "sizes": [1, 2]}}}, "sizes"),
        ({"studies": {"a": {"kind": "generalist", "tasks": ["Haggling"]}}}, "Haggling"),
        ({"stages": {"samples": SAMPLES, "scores": SAMPLES}}, "'scores' is the study's own stage"),
        ({"stages": {"samples": SAMPLES, "rows/generalist": SAMPLES}}, "'rows/generalist' is one of the study's own"),
        (
            {"studies": {"a": {"kind": "base_models", "base_models": ["org/x", "other/x"]}}},
            "two different models would be named 'base-x'",
        ),
        ({"studies": {"a": {"kind": "arms", "arms": {"x": {"against": "y"}}}}}, "arm x is against y"),
        ({"finetune": {"num_epoch": 3}}, "did you mean 'num_epochs'"),
    ],
)
def test_what_cannot_be_is_told(fields, told):
    with pytest.raises(InputError) as refused:
        stages_of(study(**{"studies": {"shots": {"kind": "shots"}}} | fields))
    assert told in str(refused.value)


def test_what_would_be_made_twice_is_refused_before_any_work():
    """A default that one arm names is no other model: the answers of both would be one run."""
    arms = {"three": {"finetune": {"num_epochs": 3}}}
    stages = stages_of(study({"mine": {"kind": "arms", "arms": arms}, "shots": {"kind": "shots"}}))
    with pytest.raises(InputError, match="stages tuned/generalist and tuned/mine-three would make the same"):
        refuse_twins(stages.values())
    before = {"job": "predict", "needs": ["samples"], "config": {"settings": [IND, OOD], "num_actors": 1}}
    arms = {"untuned": {"finetune": None}}
    stages = stages_of(study({"mine": {"kind": "arms", "arms": arms}}, stages={"samples": SAMPLES, "before": before}))
    with pytest.raises(InputError, match="stages before and answers/untuned would make the same"):
        refuse_twins(stages.values())


def test_what_differs_is_not_taken_for_the_same():
    refuse_twins(stages_of(study({"shots": {"kind": "shots"}, "generalist": {"kind": "generalist"}})).values())


@pytest.mark.parametrize("number", [1200, 5000])
def test_more_samples_than_there_are_are_refused_before_any_training(number):
    stages = stages_of(study({"scaling": {"kind": "data_scaling", "num_samples": [300, number, None]}}))
    counts = {Partition(IND, "train", "Product_Matching"): 200, Partition(IND, "train", "Sentiment_Analysis"): 1000}
    for name in ("rows/n300", "rows/generalist", "tuned/generalist"):
        refuse_sizes(stages[name], lambda: counts)
    with pytest.raises(InputError, match=rf"num_samples={number:,}, but there are 1,200 training samples"):
        refuse_sizes(stages[f"rows/n{number}"], lambda: counts)


def test_a_task_that_is_named_twice_is_one():
    stages = stages_of(study({"generalist": {"kind": "generalist", "tasks": ["SA", "Sentiment_Analysis"]}}))
    assert [arm.runs for arm in stages["scores"].config.studies[0].arms] == [(0,), (1,)]


def test_overrides_reach_into_studies():
    words = ["output_dir=out", "defaults.base_model=m", "stages.samples={job: build, config: {raw_dir: raw}}"]
    words += ["studies.scaling.kind=data_scaling", "studies.scaling.num_samples=[10, null]"]
    config = load_config(StudyConfig, None, words)
    assert config.studies["scaling"].num_samples == (10, None)
