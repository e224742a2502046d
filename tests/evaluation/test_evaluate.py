"""The stage on real files, with its shards called one after the other instead of by Ray."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation import evaluate
from ecellm.evaluation.answered import list_runs
from ecellm.evaluation.report_shard import short_names
from ecellm.schema import COMPARISONS, METRICS, SCORES
from ecellm.stage import Run
from ecellm.storage import Storage


def one_after_the_other(shards, function, *, name, function_args, memory):
    for shard in shards:
        yield json.loads(json.dumps(function(json.loads(json.dumps(shard)), **function_args)))


def good(row):
    return {"Product_Matching": row["output"], "Sentiment_Analysis": row["output"][0]}.get(row["task"], "B,A")


def poor(row):
    return "I do not know"


@pytest.fixture
def config(tmp_path, samples, write_samples, write_predictions, training_dir):
    directories = (write_predictions("base", samples, poor), write_predictions("tuned", samples, good))
    return EvaluateConfig(
        predictions_dirs=directories,
        samples_dir=write_samples(samples),
        output_dir=str(tmp_path / "out"),
        training_dirs=(training_dir,),
        num_resamples=200,
    )


@pytest.fixture
def carry_out(monkeypatch):
    monkeypatch.setattr(evaluate, "run_shards", one_after_the_other)

    def run(config):
        evaluate.STAGE.check(config, Storage())
        inputs = dict.fromkeys(evaluate.STAGE.inputs(config), "f" * 64)
        return evaluate.STAGE.run(Run(config, Storage(), config.output_dir, "0" * 64, inputs))

    return run


def table(config, name, schema):
    files = Storage().list_files(f"{config.output_dir}/{name}/data", ".parquet")
    for file in files:
        assert pq.read_schema(file).equals(schema, check_metadata=True)
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_scores_metrics_and_comparisons(config, carry_out):
    outcome = carry_out(config)
    scores = table(config, "scores", SCORES)
    assert len(scores) == outcome.rows == 2 * (30 + 24 + 6 + 3)
    wrong = next(row for row in scores if row["run_id"] == "run-base" and row["task"] == "Product_Matching")
    assert (wrong["parsed"], wrong["is_valid"], wrong["value"]) == (None, False, None)
    metrics = table(config, "metrics", METRICS)
    f1 = {row["run_id"]: row for row in metrics if row["task"] == "Product_Matching" and row["metric"] == "f1"}
    assert (f1["run-base"]["value"], f1["run-base"]["num_invalid"]) == (0, 30)
    assert (f1["run-tuned"]["value"], f1["run-tuned"]["ci_low"]) == (1, 1)
    assert f1["run-tuned"]["model"] == "tiny + adapter"
    assert f1["floor-always-yes"]["value"] == pytest.approx(2 * 10 / 40)
    assert {row["samples_fingerprint"] for row in metrics} == {"f" * 64}
    reasons = {row["task"]: row["reason"] for row in metrics if row["value"] is None}
    assert reasons["Ticket_Routing"] == "no scorer for task 'Ticket_Routing'"
    assert "qpr_labels" in reasons["Query_Product_Ranking"]
    comparisons = table(config, "comparisons", COMPARISONS)
    assert {(row["task"], row["setting"][:3]) for row in comparisons} == {
        ("Product_Matching", "IND"),
        ("Sentiment_Analysis", "IND"),
        ("Sentiment_Analysis", "OOD"),
    }
    assert {(row["difference"], row["ci_low"], row["baseline_run_id"]) for row in comparisons} == {(1, 1, "run-base")}


def test_the_summary_shows_before_after_and_floor(config, carry_out):
    summary = carry_out(config).summary
    line = next(line for line in summary if "Product_Matching" in line)
    assert line.startswith("*")
    assert "0.000 [0.000, 0.000] (30 invalid)  1.000 [1.000, 1.000]  " in line
    assert summary[-1] == "3 of 3 tasks and settings above the trivial baseline"


def test_a_killed_run_goes_on_and_gives_the_same(config, carry_out):
    carry_out(config)
    parts = Path(config.output_dir)
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    kept = parts / "metrics/data/part-00000.parquet"
    stamp = kept.stat().st_mtime_ns
    for path in (
        parts / "metrics/data/part-00001.parquet",
        parts / "scores/data/part-00002.parquet",
        parts / "report.html",
    ):
        path.unlink()
    (parts / "metrics/data/part-00002.parquet").unlink()
    carry_out(config)
    assert kept.stat().st_mtime_ns == stamp
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_without_resamples_there_are_no_intervals_and_no_comparisons(config, carry_out):
    bare = config.model_copy(update={"num_resamples": 0})
    carry_out(bare)
    assert table(bare, "comparisons", COMPARISONS) == []
    assert all(row["ci_low"] is None for row in table(bare, "metrics", METRICS))


def test_rows_that_only_one_run_answered_are_not_compared(config, carry_out, samples, write_predictions):
    some = [row for row in samples if row["task"] == "Product_Matching" and row["row_index"] < 7]
    fewer = config.model_copy(
        update={"predictions_dirs": (*config.predictions_dirs, write_predictions("few", some, good))}
    )
    carry_out(fewer)
    (row,) = [row for row in table(fewer, "comparisons", COMPARISONS) if row["run_id"] == "run-few"]
    assert row["num_samples"] == 7


def test_predictions_of_other_samples_are_refused(config, make_sample, write_predictions):
    stranger = write_predictions("other", [make_sample("Product_Matching", 77, "yes")], good)
    other = config.model_copy(update={"predictions_dirs": (stranger,)})
    with pytest.raises(InputError, match=r"sample Product_Matching-IND_Diverse_Instruction-77 .* not in the samples"):
        evaluate.STAGE.check(other, Storage())


def test_the_same_run_twice_and_no_predictions_are_refused(config, tmp_path, samples, write_predictions):
    copy = write_predictions("copy", samples, poor, run_id="run-base")
    with pytest.raises(InputError, match="hold the same run, run-base"):
        evaluate.STAGE.check(
            config.model_copy(update={"predictions_dirs": (config.predictions_dirs[0], copy)}), Storage()
        )
    with pytest.raises(InputError, match="given twice"):
        evaluate.STAGE.check(config.model_copy(update={"predictions_dir": config.predictions_dirs[0]}), Storage())
    with pytest.raises(InputError, match="holds no predictions"):
        list_runs(Storage(), str(tmp_path / "nothing"))


def test_a_place_where_every_row_failed_has_no_figures(config, carry_out, tmp_path):
    file = tmp_path / "base/data/setting=IND_Diverse_Instruction/task=Product_Matching/part-00000.parquet"
    Storage().write_table(str(file), pq.ParquetFile(file).read().slice(0, 0))
    carry_out(config)
    rows = [row for row in table(config, "metrics", METRICS) if row["task"] == "Product_Matching"]
    assert {row["run_id"] for row in rows if row["role"] == "ours"} == {"run-tuned"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects links and text."""

    def __init__(self):
        super().__init__()
        self.open, self.urls, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "br", "link", "img"}:
            self.open.append(tag)
        self.urls += [value for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def test_the_report_is_one_well_formed_page_with_the_figures(config, carry_out, make_sample, samples, write_samples):
    carry_out(config)
    page = Path(config.output_dir, "report.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == outline.urls == []
    assert "http" not in page
    for text in (
        "0.000 [0.000, 0.000]",
        "1.000 [1.000, 1.000]",
        "base",
        "tuned",
        "tuned-model",
        "30 invalid",
        "▲",
        "[0.000, 0.000]",
        "+1.000 [+1.000, +1.000]",
        "always-yes",
        "no scorer for task 'Ticket_Routing'",
    ):
        assert any(text in part for part in outline.text), text
    assert page.count("<polyline") == 3
    assert page.count('<circle class="best"') == 1
    for text in ("validation, last 0.075", "best 0.075 after step 40", "learning rate, peak 1.0e-04"):
        assert any(text in part for part in outline.text), text
    assert "prefers-color-scheme: dark" in page


def test_text_of_the_data_cannot_break_the_page(config, carry_out, tmp_path, samples, write_predictions):
    name = "<b>run&1"
    evil = config.model_copy(update={"predictions_dirs": (write_predictions(name, samples, good, "<script>"),)})
    carry_out(evil)
    page = Path(config.output_dir, "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;run&amp;1" in page


def test_short_names_tell_paths_apart():
    assert short_names(["/runs/base", "/runs/tuned"]) == ["base", "tuned"]
    assert short_names(["s3://b/one/predict", "s3://b/two/predict/"]) == ["one/predict", "two/predict"]
