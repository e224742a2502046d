"""A small study from raw data to its page, killed on the way: what is done stays done, and every figure is traced."""

import json
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecellm.schema import RUNS, STUDIES
from tests.driver_process import start_driver, wait_at_work

pytestmark = pytest.mark.timeout(1500)  # two dry runs, and two runs of nineteen stages, each a process of its own
RECIPE = "jobs/recipes/demo_study.yaml"
SMALL = [
    "stages.samples.config={tasks: [PM, SA, SR], sizes: {train: 120, val: 8, test: 24}, task_sizes: {}}",
    "stages.samples.config.categories={all: {in_domain: [Electronics], out_of_domain: [Tools_and_Home_Improvement]}}",
    "stages.before.config.tasks=[PM, SA]",
    "stages.gsasrec.config.num_epochs=2",
    "studies={one or two: {kind: generalist, tasks: [PM, SA]}}",
    "studies.data={kind: data_scaling, num_samples: [40, 120, null]}",
    "preprocess={tasks: [PM, SA], max_length: 1024}",
    "predict.tasks=[PM, SA]",
    "finetune.num_epochs=1",
    "finetune.global_batch_size=16",
    "evaluate={num_resamples: 200}",
]
MODELS = ("generalist", "only-pm", "only-sa", "n40", "n120")
STAGES = {
    *("samples", "before", "gsasrec", "scores"),
    *(f"{part}/{model}" for part in ("rows", "tuned", "answers") for model in MODELS),
}


class Study:
    """The study's command, on a local Ray of its own, with all that it said so far."""

    def __init__(self, root, inputs):
        self.root, self.log = root / "study", root / "log"
        self._words = [RECIPE, f"output_dir={self.root}", f"defaults.raw_dir={inputs}/raw", *SMALL]
        self._words.append(f"defaults.base_model={inputs}/model")

    def start(self, *words):
        return start_driver("study", [*self._words, *words], self.log, {"OMP_NUM_THREADS": "1"})

    def run(self, *words):
        """Run to the end; return the exit code and what it said."""
        before = self.log.stat().st_size if self.log.exists() else 0
        code = self.start(*words).wait(timeout=900)
        return code, self.log.read_bytes()[before:].decode()

    def manifests(self):
        """Return when each stage's manifest was written."""
        found = {str(path.parent.relative_to(self.root)): path for path in self.root.rglob("_manifest.json")}
        return {name: path.stat().st_mtime_ns for name, path in found.items()}


@pytest.fixture(scope="module")
def study(undisturbed, tmp_path_factory):
    """The study after it was killed once and run to its end."""
    study = Study(tmp_path_factory.mktemp("study"), undisturbed)
    study.first = study.run("--dry-run")
    process = study.start()
    wait_at_work(process, lambda: any(name.startswith("tuned/") for name in study.manifests()), study.log, 500)
    process.send_signal(signal.SIGTERM)
    study.killed = process.wait(timeout=120)
    study.before = study.manifests()
    study.second = study.run("--dry-run")
    study.end = study.run()
    return study


def table(study, name):
    return pq.read_table(study.root / "scores" / name / "data", partitioning=None)


def test_it_goes_on_where_it_was_killed(study):
    assert study.killed != 0
    assert 0 < len(study.before) < len(STAGES)
    code, said = study.end
    assert code == 0, said[-3000:]
    after = study.manifests()
    assert set(after) == STAGES
    assert {name: after[name] for name in study.before} == study.before
    assert f"({len(STAGES)} of {len(STAGES)} stages)" in said
    assert "[tuned/" in said  # each line of a stage tells whose it is


def test_a_dry_run_tells_the_grid_what_is_done_and_how_long_the_rest_takes(study):
    (first, said), (second, later) = study.first, study.second
    assert (first, second) == (0, 0)
    assert "one for each task: only-pm, only-sa, against one for all tasks; tested on IND = IND_Diverse" in said
    assert f"stages: {len(STAGES)}, of which done: 0" in said
    assert "estimated time: unknown until the samples are there" in said
    assert f"of which done: {len(study.before)}" in later
    assert "training samples of tuned/" in later
    assert "estimated time: " in later
    assert all("about" not in line for line in later.splitlines() if "done; would be skipped" in line)


def test_the_studies_are_one_table_whose_figures_lead_to_manifests(study):
    studies, runs = table(study, "studies"), table(study, "runs")
    assert studies.schema.equals(STUDIES, check_metadata=False)
    assert runs.schema.equals(RUNS, check_metadata=False)
    rows = studies.to_pylist()
    sizes = {row["arm"]: row["x"] for row in rows if row["study"] == "data"}
    assert list(sizes) == ["40", "120", "all"]
    assert sizes["40"] == 40
    assert sizes["120"] == 120
    assert sizes["all"] > 120
    tested = {(row["arm"], row["task"]) for row in rows if row["study"] == "one or two" and row["against"]}
    assert tested == {("one for each task", "Product_Matching"), ("one for each task", "Sentiment_Analysis")}
    manifest_of = {row["run_id"]: row["manifest"] for row in runs.to_pylist()}
    for row in rows:
        manifest = json.loads(Path(manifest_of[row["run_id"]]).read_text())
        assert manifest["fingerprint"].startswith(row["run_id"])
        assert manifest["job"] == "predict"


def test_the_report_has_both_sides_of_the_table(study):
    rows = table(study, "metrics").to_pylist()
    roles = {
        (row["task"], row["setting"][:3], row["role"])
        for row in rows
        if row["is_headline"] and row["slice_name"] is None
    }
    assert ("Sentiment_Analysis", "OOD", "ours") in roles
    assert ("Sequential_Recommendation", "IND", "task_specific") in roles
    assert ("Sequential_Recommendation", "OOD", "floor") in roles
    floors = {row["model"] for row in rows if row["role"] == "floor"}
    assert {"tfidf-logreg", "token-overlap", "popularity", "co-occurrence"} <= floors
    page = (study.root / "scores" / "report.html").read_text()
    for part in ('id="studies"', "training samples", "gSASRec", "before", "generalist", "GPT-4 Turbo"):
        assert part in page


def test_a_mistake_is_told_before_anything_is_done(study, tmp_path):
    code, said = study.run(f"output_dir={tmp_path / 'other'}", "studies.data.num_samples=[40]")
    assert code == 2
    assert "num_samples" in said.splitlines()[-1]
    code, said = study.run('only="tuned/nobody"')
    assert code == 2
    assert "there is no stage 'tuned/nobody'" in said.splitlines()[-1]
    assert not (tmp_path / "other").exists()
