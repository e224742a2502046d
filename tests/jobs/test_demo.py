"""The newcomer's first try: it runs, says where everything is, and the tiny model learns."""

import json

import pandas as pd
import pytest

from ecellm.demo import run_demo

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
    metrics = metrics[metrics["is_headline"] & (metrics["setting"] == "IND_Diverse_Instruction")]
    floors = metrics[metrics["role"] == "floor"].groupby("task")["value"].max()
    after = metrics[metrics["model"].str.endswith("tuned/model")].set_index("task")
    above = [task for task, floor in floors.items() if after["ci_low"][task] > floor]
    assert len(above) >= 4, above
    assert (after["num_samples"] >= 200).all()
    assert "report.html" in caplog.text
    assert "import duckdb" in caplog.text
    assert str(run / "samples" / "README.md") in caplog.text


@pytest.mark.usefixtures("local_ray")
def test_the_demo_runs_to_its_end(tmp_path, caplog):
    """The same in a minute: few steps, few rows."""
    caplog.set_level("INFO")
    short = ["stages.tuned.config.max_steps=8", "stages.tuned.config.num_workers=1", "defaults.limit=10"]
    run_demo(str(tmp_path / "demo"), short)
    run = tmp_path / "demo" / "run"
    assert sorted(path.parent.name for path in run.glob("*/_manifest.json")) == sorted(STAGES)
    metrics = pd.read_parquet(run / "scores" / "metrics" / "data")
    assert metrics["task"].nunique() == 10
    assert "tasks and settings above the trivial baseline" in caplog.text
