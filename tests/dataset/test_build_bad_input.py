"""What a user can get wrong: one clear message each, before any work where that can be, and no trace of the run."""

import shutil

import pytest

from ecellm.command_line import main
from ecellm.config import BuildConfig
from ecellm.dataset.build import STAGE
from ecellm.errors import InputError
from ecellm.recipe import load_config
from tests.dataset.conftest import build
from tests.dataset.small_builds import (
    in_process,  # noqa: F401
    write_lines,
    write_questions,
    write_ratings,
    write_reviews,
)

pytestmark = pytest.mark.usefixtures("local_ray")
PAPER_SR = ["Electronics", "Home_and_Kitchen", "Sports_and_Outdoors", "Tools_and_Home_Improvement"]


def refused(tmp_path, match, **fields):
    """Build; expect one message of one line, and nothing written."""
    with pytest.raises(InputError, match=match) as caught:
        build(tmp_path / "out", **fields)
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("PM", "amazon_google/GoogleProducts.csv"),
        ("PRP", "amazon_review_2018/meta/meta_Sports_and_Outdoors.json.gz"),
        ("SA", "amazon_review_2018/review/Home_and_Kitchen.json.gz"),
        ("SR", "amazon_review_2018/rating/Electronics.csv"),
        ("MPC", "shopping_queries/shopping_queries_dataset_products.parquet"),
    ],
)
def test_a_missing_raw_file_is_named(world, tmp_path, task, file):
    raw = tmp_path / "raw"
    shutil.copytree(world, raw)
    (raw / file).unlink()
    refused(tmp_path, rf"raw files are missing: {raw}/{file}\. .*jobs\.fetch", raw_dir=str(raw), tasks=[task])


@pytest.mark.parametrize(
    ("task", "directory", "match"),
    [
        ("AP", "amazon_qa", r"amazon_qa must hold one file train-qar\.jsonl"),
        ("AVE", "mave", r"mave must hold mave_pos"),
    ],
)
def test_a_missing_directory_is_told_with_what_it_must_hold(tmp_path, task, directory, match):
    write_lines(tmp_path / "raw" / "other.txt", [b"so that raw_dir is not empty"])
    refused(tmp_path, match, raw_dir=str(tmp_path / "raw"), tasks=[task])


def test_metadata_of_2014_may_be_missing_and_the_card_says_so(world, tmp_path, in_process):  # noqa: F811
    raw = tmp_path / "raw"
    shutil.copytree(world, raw, ignore=shutil.ignore_patterns("amazon_review_2014"))
    out = build(tmp_path / "out", raw_dir=str(raw), tasks=["SR"])
    assert f"no metadata of 2014 for {', '.join(PAPER_SR)}" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"tasks": ["Sentiment_Analysys"]}, r"unknown task 'Sentiment_Analysys': did you mean Sentiment_Analysis\?"),
        ({"tasks": []}, r"tasks: name at least one"),
        ({"task_sizes": {"SX": {"train": 1}}, "tasks": ["PM"]}, r"unknown task 'SX'"),
        ({"categories": {"XY": {"in_domain": ["Toys"]}}, "tasks": ["SA"]}, r"unknown task 'XY'"),
        ({"categories": {"PM": {"in_domain": ["Toys"]}}, "tasks": ["PM"]}, r"Product_Matching has no categories"),
        ({"categories": {"QPR": {"in_domain": ["Toys"]}}, "tasks": ["AP"]}, r"Query_Product_Ranking has no categories"),
        (
            {"categories": {"SA": {"in_domain": ["Toyz"]}}, "tasks": ["SA"]},
            r"raw files are missing: .*/Toyz\.json\.gz.* \(there are .*Tools",
        ),
        (
            {"categories": {"AP": {"in_domain": ["Tools_and_Home_Improvement", "Toyz"]}}, "tasks": ["AP"]},
            r"Answerability_Prediction: no question of .*val-qar.* is of category Toyz; they have .*Sports_and_Outdoors",
        ),
        (
            {"categories": {"AG": {"in_domain": ["Electronics"], "out_of_domain": ["Toyz"]}}, "tasks": ["AG"]},
            r"Answer_Generation: no question of .* is of category Toyz",
        ),
        (
            {"categories": {"SA": {"in_domain": ["A"]}, "sentiment_analysis": {"in_domain": ["B"]}}, "tasks": ["SA"]},
            r"categories: Sentiment_Analysis is named twice",
        ),
        ({"task_sizes": {"PM": {}, "Product_Matching": {}}, "tasks": ["PM"]}, r"task_sizes: .* is named twice"),
    ],
    ids=str,
)
def test_wrong_names_are_told(world, tmp_path, fields, match):
    refused(tmp_path, match, raw_dir=str(world), **fields)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["categories={SA: {in_domain: [Toys], out_of_domain: [Tools, Toys]}}"], r"Toys named twice.*must be disjoint"),
        (["categories={SA: {in_domain: [Toys, Toys]}}"], r"Toys named twice"),
        (["categories={SA: {in_domain: []}}"], r"in_domain"),
        (["categories={SA: {indomain: [Toys]}}"], r"in_domain"),
        (["sizes.train=0"], r"sizes\.train"),
        (["sizes.train=most"], r"sizes\.train"),
        (["negatives=easy"], r"negatives.*random.*hard"),
        (["leekage=drop"], r"leakage"),
        (["bucket_bytes=0"], r"bucket_bytes"),
    ],
    ids=str,
)
def test_a_wrong_recipe_names_the_field(overrides, match):
    with pytest.raises(InputError, match=match):
        load_config(BuildConfig, None, ["raw_dir=raw", "output_dir=out", *overrides])


def test_a_pool_that_is_too_small_for_twenty_candidates(tmp_path, in_process):  # noqa: F811
    fields = {"raw_dir": str(tmp_path / "raw"), "tasks": ["SR"], "categories": {"SR": {"in_domain": ["Toys"]}}}
    write_ratings(tmp_path / "raw", 21)
    refused(
        tmp_path, r"the IND categories leave 21 different items after the 5-core, and 20 candidates need 22", **fields
    )
    write_ratings(tmp_path / "raw", 22)
    assert (build(tmp_path / "out", **fields) / "_manifest.json").exists()


def test_ratings_of_which_nothing_survives(tmp_path, in_process):  # noqa: F811
    write_ratings(tmp_path / "raw", 30)
    write_lines(tmp_path / "raw" / "amazon_review_2018" / "rating" / "Toys.csv", [b"B000000001,U1,5.0,1"] * 9)
    fields = {"raw_dir": str(tmp_path / "raw"), "tasks": ["SR"], "categories": {"SR": {"in_domain": ["Toys"]}}}
    refused(tmp_path, r"the IND categories leave 0 different items", **fields)


def test_reviews_of_which_none_can_be_used(tmp_path):
    write_reviews(tmp_path / "raw", "Toys", [("too short", 5.0, "B1", "U1")] * 20)
    fields = {"raw_dir": str(tmp_path / "raw"), "tasks": ["SA"], "categories": {"SA": {"in_domain": ["Toys"]}}}
    refused(tmp_path, r"no in-domain example of Sentiment_Analysis \(left out: .*under ten words: 20\)", **fields)


def test_a_catalogue_without_the_task(world, tmp_path):
    (tmp_path / "own.json").write_text('{"tasks": {"PM": {"seed": "a", "diverse": ["b"], "unseen": "c"}}}')
    match = r"the instruction catalogue has no entry 'SA' for Sentiment_Analysis"
    refused(tmp_path, match, raw_dir=str(world), tasks=["SA"], instructions=str(tmp_path / "own.json"))


def test_output_around_the_raw_files_is_refused(world):
    for directory in (world, world.parent):
        with pytest.raises(InputError, match=r"raw_dir \(.*\) lies in output_dir"):
            build(directory, raw_dir=str(world), tasks=["PM"])


def test_the_job_ends_with_exit_code_2_and_its_reason(tmp_path, capsys):
    assert main(STAGE, [f"raw_dir={tmp_path / 'none'}", f"output_dir={tmp_path / 'out'}", "tasks=[SA]"]) == 2
    reason = f"raw_dir {tmp_path}/none is not there, or empty; python -m jobs.fetch brings the raw sources"
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith(f"ecellm: exit=2 reason={reason}")


def test_a_dry_run_makes_every_check_and_writes_nothing(world, tmp_path, capsys):
    raw = tmp_path / "raw"
    write_questions(raw, {split: [(f"{split}?", ["s"], 1, "B1")] for split in ("train", "val", "test")})
    out, categories = tmp_path / "out", "categories={AP: {in_domain: [Toys]}}"
    arguments = [f"raw_dir={raw}", f"output_dir={out}", "tasks=[AP]", categories, "--dry-run"]
    assert main(STAGE, arguments) == 0
    (raw / "amazon_qa" / "val-qar.jsonl").write_text("no JSON\n")
    assert main(STAGE, arguments) == 2
    assert "val-qar.jsonl: its first 1 lines cannot be read" in capsys.readouterr().out
    assert not out.exists()
