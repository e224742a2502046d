"""The newcomer's first try: it runs, says where everything is, and the tiny model learns."""

import io
import json
import logging
import re

import duckdb
import pandas as pd
import pytest

from ecellm.demo import run_demo
from tests.conftest import ROOT
from tests.object_store import duckdb_over_s3

README = (ROOT / "README.md").read_text(encoding="utf-8")
COOKBOOK = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
STAGES = ["samples", "rows", "before", "tuned", "after", "scores"]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_demo_learns_at_least_four_tasks(tmp_path, caplog):
    caplog.set_level("INFO")
    run_demo(str(tmp_path / "demo"), [])
    run = tmp_path / "demo" / "run"
    for stage in STAGES:
        assert json.loads((run / stage / "_manifest.json").read_text())["status"] == "complete"
    metrics = pd.read_parquet(run / "scores" / "metrics" / "data")
    metrics = metrics[metrics["is_headline"] & (metrics["flavour"] == "strict")]
    metrics = metrics[metrics["setting"] == "IND_Diverse_Instruction"]
    floors = metrics[metrics["role"] == "floor"].groupby("task")["value"].max()
    after = metrics[metrics["model"].str.endswith("tuned/model")].set_index("task")
    above = [task for task, floor in floors.items() if after["ci_low"][task] > floor]
    assert len(above) >= 4, above
    assert (after["num_samples"] >= 200).all()
    assert "report.html" in caplog.text
    assert "import duckdb" in caplog.text
    assert str(run / "samples" / "README.md") in caplog.text


@pytest.fixture(scope="module")
def short_demo(tmp_path_factory, local_ray):
    """The same in a minute: few steps, few rows. The directory, and what was said."""
    said, directory = io.StringIO(), tmp_path_factory.mktemp("short") / "demo"
    handler, logger = logging.StreamHandler(said), logging.getLogger("ecellm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    short = ["stages.tuned.config.max_steps=8", "stages.tuned.config.num_workers=1", "defaults.limit=10"]
    run_demo(str(directory), short)
    logger.removeHandler(handler)
    logger.setLevel(level)
    return directory, said.getvalue()


def test_the_demo_runs_to_its_end(short_demo):
    directory, said = short_demo
    assert sorted(path.parent.name for path in directory.glob("run/*/_manifest.json")) == sorted(STAGES)
    metrics = pd.read_parquet(directory / "run" / "scores" / "metrics" / "data")
    assert metrics["task"].nunique() == 10
    assert "tasks and settings above the best floor" in said


@pytest.fixture(scope="module")
def demo_over_s3(short_demo, store):
    """The demo's Parquet and manifests on an S3 server, and DuckDB's access to it."""
    bucket = store.filesystem()
    bucket.mkdir("cookbook")
    bucket.put(str(short_demo[0] / "run"), "cookbook/run", recursive=True)
    return "s3://cookbook/run", duckdb_over_s3(store)


@pytest.mark.parametrize("query", COOKBOOK, ids=range(len(COOKBOOK)))
def test_a_query_of_the_cookbook_runs_locally_and_over_s3(query, short_demo, demo_over_s3):
    """The same rows from both, and some."""
    url, connection = demo_over_s3
    local = duckdb.sql(query.replace("demo-output/run", str(short_demo[0] / "run"))).df()
    pd.testing.assert_frame_equal(local, connection.sql(query.replace("demo-output/run", url)).df())
    assert len(local)


def test_the_cookbook_says_what_is_true(short_demo):
    """Its figures, worked out by pandas."""
    run = short_demo[0] / "run"
    leaderboard, gaps, slices, agreement, costs, beside = (
        duckdb.sql(query.replace("demo-output/run", str(run))).df() for query in COOKBOOK
    )
    scores = pd.read_parquet(run / "scores" / "scores" / "data")
    correct = scores[(scores["flavour"] == "strict") & (scores["component"] == "correct")]
    assert set(leaderboard["role"]) == {"ours", "floor"}
    assert {"IND", "OOD"} <= set(gaps.columns)
    assert slices["answers"].sum() <= len(correct)
    assert agreement["n"].sum() == len(correct) / 2
    assert len(beside)
    by_run = correct.groupby("run_id")["value"].sum()
    assert dict(zip(costs["run_id"], costs["num_correct"], strict=True)) == by_run.to_dict()


def test_the_one_liner_reads_the_metrics(short_demo):
    """pandas takes the directory as it stands."""
    (line,) = re.findall(r"^metrics = (pandas\.read_parquet.*)$", README, re.MULTILINE)
    path = line.split('"')[1].replace("demo-output", str(short_demo[0]))
    assert len(pd.read_parquet(path))
