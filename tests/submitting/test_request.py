"""Which job a recipe is for, what the cluster runs, and the id of a run."""

import re

import pytest

from ecellm.errors import InputError
from ecellm.recipe import read_yaml
from ecellm.submitting.request import job_of, make_request
from ecellm.submitting.upload import Upload, list_files
from tests.conftest import ROOT
from tests.submitting.small_checkout import EXCLUDES

RECIPES = sorted((ROOT / "jobs" / "recipes").rglob("*.yaml"))
BUILD = str(ROOT / "jobs" / "recipes" / "ecinstruct.yaml")
PIPELINE = str(ROOT / "jobs" / "recipes" / "pm_gemma270m.yaml")
LOGIN = "https://me:secret@host"  # pragma: allowlist secret
S3 = "output_dir=s3://bucket/out"


@pytest.fixture(scope="module")
def upload():
    return Upload(ROOT, list_files(ROOT, EXCLUDES), {}, None)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_tells_its_job(path):
    keys = read_yaml(str(path))
    assert job_of(str(path)) == ("study" if "studies" in keys else "pipeline" if "stages" in keys else "build")


def test_what_the_cluster_runs(upload):
    request = make_request(upload, BUILD, ["raw_dir=s3://bucket/raw", S3])
    assert " ".join(request.command) == (
        "python -m jobs.build jobs/recipes/ecinstruct.yaml raw_dir=s3://bucket/raw output_dir=s3://bucket/out"
    )
    assert re.fullmatch("ecinstruct-[0-9a-f]{12}", request.name)
    request = make_request(upload, PIPELINE, [S3], dry_run=True)
    assert request.command[2:] == ("jobs.pipeline", "jobs/recipes/pm_gemma270m.yaml", S3, "--dry-run")
    request = make_request(upload, None, ["release=s3://bucket/own.jsonl", S3], job="ingest")
    assert request.command == ("python", "-m", "jobs.ingest", "release=s3://bucket/own.jsonl", S3)
    assert request.name.startswith("ingest-")


def test_the_same_run_has_the_same_id(upload):
    def name(*overrides, **more):
        return make_request(upload, BUILD, overrides, **more).name

    one = name("raw_dir=s3://bucket/raw", S3)
    assert name(S3, "raw_dir=s3://bucket/raw", "seed=1") == one  # seed=1 is the default
    others = {
        name("raw_dir=s3://bucket/raw", S3, "seed=2"),
        name("raw_dir=s3://bucket/other", S3),
        name("raw_dir=s3://bucket/raw", "output_dir=s3://bucket/elsewhere"),
        name("raw_dir=s3://bucket/raw", S3, dry_run=True),
    }
    assert len(others | {one}) == 5


@pytest.mark.parametrize(
    ("recipe", "overrides", "told"),
    [
        ("nowhere.yaml", [S3], "cannot read recipe nowhere.yaml: No such file"),
        (None, [S3], "name a recipe"),
        (BUILD, [S3], "missing key 'raw_dir'"),
        (BUILD, ["raw_dir=s3://bucket/raw", S3, "seeed=2"], "unknown key 'seeed': did you mean 'seed'"),
        (BUILD, ["raw_dir=s3://bucket/raw"], "output_dir=runs/ecinstruct would lie in the cluster's own copy"),
        (PIPELINE, ["output_dir=./here"], "such as output_dir=s3://BUCKET/here, or an absolute path"),
        (BUILD, [f"raw_dir={LOGIN}/raw", S3], r"raw_dir=https://\[redacted\]@host/raw: Ray shows"),
    ],
)
def test_what_cannot_be_submitted(upload, recipe, overrides, told):
    with pytest.raises(InputError, match=told):
        make_request(upload, recipe, overrides)


def test_a_recipe_of_one_s_own(upload, tmp_path):
    own = tmp_path / "mine #1.yaml"
    own.write_text("sizes: {train: 5, val: 1, test: 1}\nraw_dir: s3://bucket/raw\noutput_dir: /shared/out\n")
    with pytest.raises(InputError, match="does not tell which job it is for: give --job"):
        make_request(upload, str(own), [])
    with pytest.raises(InputError, match="is not among the files that are uploaded"):
        make_request(upload, str(own), [], job="build")
    there = Upload(tmp_path, {own.name: 1}, {}, None)
    request = make_request(there, str(own), [], job="build")
    assert request.name.startswith("mine--1-")
    assert request.command[-1] == own.name
