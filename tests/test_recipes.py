"""Every shipped recipe is valid, and says how it is submitted."""

import pytest

from ecellm.config import BuildConfig, PipelineConfig
from ecellm.pipeline import resolve
from ecellm.recipe import load_config, read_yaml
from ecellm.stages import load_stage
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "jobs" / "recipes").rglob("*.yaml"))


def test_all_recipes_are_tested():
    assert [path.name for path in RECIPES] == [
        "demo.yaml",
        "ecinstruct.yaml",
        "ecinstruct_clean.yaml",
        "pm_gemma270m.yaml",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_valid(path):
    """Whatever a recipe leaves to the command line (raw_dir) is given there."""
    if "stages" not in read_yaml(str(path)):
        config = load_config(BuildConfig, str(path), ["raw_dir=raw"])
        assert config.sizes.train == 10_000
        return
    config = load_config(PipelineConfig, str(path), ["defaults.raw_dir=raw"])
    nodes = resolve(config, load_stage)
    assert {node.name for node in nodes} == set(config.stages)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_begins_with_the_line_that_submits_it(path):
    header = path.read_text(encoding="utf-8").split("\noutput_dir:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "ray job submit --address http://HEAD:8265 --runtime-env runtime_env.yaml --working-dir . --" in header
    job = "build" if "stages" not in read_yaml(str(path)) else "pipeline"
    assert f"python -m jobs.{job} jobs/recipes/{path.name}" in header


def test_the_two_builds_of_ecinstruct_differ_in_leakage_alone():
    reports, cleans = (
        load_config(BuildConfig, str(ROOT / "jobs" / "recipes" / f"{name}.yaml"), ["raw_dir=raw", "output_dir=out"])
        for name in ("ecinstruct", "ecinstruct_clean")
    )
    assert (reports.leakage, cleans.leakage) == ("report", "drop")
    assert reports.model_copy(update={"leakage": "drop"}) == cleans
