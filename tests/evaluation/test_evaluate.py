"""The stage on real files, with its shards called one after the other instead of by Ray."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation import evaluate
from ecellm.evaluation.answered import list_runs
from ecellm.schema import COMPARISONS, METRICS, SCORES
from ecellm.storage import Storage
from ecellm.tasks import RELEASED, STRICT
from tests.evaluation.made_up_runs import do_shards_here, evaluate_here


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
def without_ray(monkeypatch):
    do_shards_here(monkeypatch)


@pytest.fixture
def carry_out(without_ray, monkeypatch):
    return lambda config: evaluate_here(config, monkeypatch)


def table(config, name, schema):
    files = Storage().list_files(f"{config.output_dir}/{name}/data", ".parquet")
    for file in files:
        assert pq.read_schema(file).equals(schema, check_metadata=True)
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_scores_metrics_and_comparisons(config, carry_out):
    outcome = carry_out(config)
    scores = table(config, "scores", SCORES)
    assert len(scores) == outcome.rows == 2 * 2 * (30 + 24 + 6 + 3)
    wrong = [row for row in scores if row["run_id"] == "run-base" and row["task"] == "Product_Matching"]
    assert {(row["flavour"], row["parsed"], row["is_valid"], row["value"]) for row in wrong} == {
        (RELEASED, None, False, None),
        (STRICT, None, False, 0.0),
    }
    metrics = table(config, "metrics", METRICS)
    f1 = {
        (row["run_id"], row["flavour"]): row
        for row in metrics
        if (row["task"], row["metric"], row["slice_name"]) == ("Product_Matching", "f1", None)
    }
    for flavour in (RELEASED, STRICT):
        assert (f1["run-base", flavour]["value"], f1["run-base", flavour]["num_invalid"]) == (0, 30)
        assert (f1["run-tuned", flavour]["value"], f1["run-tuned", flavour]["ci_low"]) == (1, 1)
        assert f1["run-tuned", flavour]["model"] == "tiny + adapter"
        assert f1["floor-always-yes", flavour]["value"] == pytest.approx(2 * 10 / 40)
    assert {row["samples_fingerprint"] for row in metrics} == {"f" * 64}
    reasons = {row["task"]: row["reason"] for row in metrics if row["value"] is None and row["is_headline"]}
    assert reasons["Ticket_Routing"] == "no scorer for task 'Ticket_Routing'"
    assert "qpr_labels" in reasons["Query_Product_Ranking"]
    assert reasons["Answer_Generation"] == "no bertscore_model was given"


def test_the_headline_over_all_rows_is_the_leaderboard(config, carry_out):
    carry_out(config)
    metrics = table(config, "metrics", METRICS)
    for flavour in (RELEASED, STRICT):
        ours = [row for row in metrics if row["is_headline"] and (row["role"], row["flavour"]) == ("ours", flavour)]
        places = [(row["run_id"], row["task"], row["setting"]) for row in ours]
        assert len(places) == len(set(places)) == 2 * 6
    assert {row["slice_name"] for row in metrics if row["is_headline"]} == {None}
    sliced = {(row["task"], row["slice_name"]) for row in metrics if row["slice_name"] is not None}
    assert sliced == {("Product_Matching", "reference"), ("Sentiment_Analysis", "reference")}


def test_runs_are_compared_with_the_first_in_both_flavours(config, carry_out):
    carry_out(config)
    comparisons = table(config, "comparisons", COMPARISONS)
    # Strict macro averages are over all five letters, of which these samples have two.
    found = {(row["flavour"], row["task"], row["setting"][:3]): row["difference"] for row in comparisons}
    assert found == {
        (RELEASED, "Product_Matching", "IND"): 1,
        (RELEASED, "Sentiment_Analysis", "IND"): 1,
        (RELEASED, "Sentiment_Analysis", "OOD"): 1,
        (STRICT, "Product_Matching", "IND"): 1,
        (STRICT, "Sentiment_Analysis", "IND"): pytest.approx(2 / 5),
        (STRICT, "Sentiment_Analysis", "OOD"): pytest.approx(2 / 5),
    }
    for row in comparisons:
        assert (row["run_id"], row["baseline_run_id"], row["baseline_value"]) == ("run-tuned", "run-base", 0)
        assert (row["value"], row["ci_low"]) == (row["difference"], pytest.approx(row["difference"]))
        assert row["p_value"] <= row["p_adjusted"] < 0.05


@pytest.mark.usefixtures("without_ray")
def test_the_check_says_what_will_be_scored(config, carry_out):
    lines = evaluate.STAGE.check(config, Storage())
    assert (
        "/base (run run-base): 65 answers in 6 shards (5 tasks, 2 settings), scored in released and strict" in lines[0]
    )
    assert "/tuned (run run-tuned): 65 answers" in lines[1]


def test_the_summary_shows_before_after_and_floor(config, carry_out):
    summary = carry_out(config).summary
    line = next(line for line in summary if "Product_Matching" in line)
    assert line.startswith("*")
    assert "0.000 [0.000, 0.000] (30 invalid)  1.000 [1.000, 1.000]  " in line
    # Sentiment Analysis has twelve rows a setting, too few to be sure of anything.
    assert summary[-1] == "1 of 3 tasks and settings above the best floor"


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
    rows = [row for row in table(fewer, "comparisons", COMPARISONS) if row["run_id"] == "run-few"]
    assert [(row["flavour"], row["num_samples"]) for row in rows] == [(RELEASED, 7), (STRICT, 7)]


@pytest.mark.usefixtures("without_ray")
def test_predictions_of_other_samples_are_refused(config, make_sample, write_predictions):
    stranger = write_predictions("other", [make_sample("Product_Matching", 77, "yes")], good)
    other = config.model_copy(update={"predictions_dirs": (stranger,)})
    with pytest.raises(InputError, match=r"sample Product_Matching-IND_Diverse_Instruction-77 .* not in the samples"):
        evaluate.STAGE.check(other, Storage())


@pytest.mark.usefixtures("without_ray")
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
