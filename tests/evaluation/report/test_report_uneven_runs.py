"""Runs that failed, wholly or in part, and an evaluation without intervals: the page says so."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.config import EvaluateConfig
from ecellm.evaluation.headline import Verdict, headline_rows, verdict_of
from ecellm.evaluation.report.first_page import headline_groups
from ecellm.evaluation.report.page import has_intervals
from ecellm.schema import PREDICTION_ERRORS
from ecellm.storage import Storage
from tests.evaluation.made_up_runs import evaluate_here, make_samples, of_skill, write_predictions, write_samples
from tests.evaluation.report.test_report_standings import PM, row

NUM_TEST = 12
NUM_ANSWERED = 3
TASKS = {PM, "Query_Product_Ranking", "Sentiment_Analysis"}
REASONS = ("the prompt has 9,000 tokens", "the engine's answer is <no text>")


def write_run(directory, samples, num_answered):
    """Write a run whose every part has so many answers; the other rows failed for one of two reasons."""
    write_predictions(directory, samples, of_skill({}, 0.5, chattiness=0.5), seed=1)
    for number, path in enumerate(sorted(directory.rglob("*.parquet"))):
        table = pq.ParquetFile(path).read()
        path.unlink()
        name = f"part-{number:05}.parquet"
        Storage().write_table(str(path.with_name(name)), table.slice(0, num_answered))
        failed = [
            {key: value for key, value in each.items() if key in PREDICTION_ERRORS.names}
            | {"reason": REASONS[place % 4 == 0]}
            for place, each in enumerate(table.slice(num_answered).to_pylist())
        ]
        if failed:
            errors = pa.Table.from_pylist(failed, schema=PREDICTION_ERRORS)
            Storage().write_table(str(directory / "errors" / name), errors)
    return str(directory)


def page_text(root, monkeypatch, runs, samples, num_resamples):
    config = EvaluateConfig(
        predictions_dirs=runs,
        samples_dir=write_samples(root / "samples", samples),
        output_dir=str(root / "out"),
        num_resamples=num_resamples,
    )
    evaluate_here(config, monkeypatch)
    page = Path(config.output_dir, "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page[page.index("<body>") :]))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("uneven")
    made = make_samples(root, num_test=NUM_TEST, settings=("IND_Diverse_Instruction",))
    samples = [sample for sample in made if sample["task"] in TASKS]
    answered = {"whole": NUM_TEST, "part": NUM_ANSWERED, "failed": 0, "failed-too": 0}
    runs = [write_run(root / name, samples, number) for name, number in answered.items()]
    few = [sample for sample in samples if sample["row_index"] < NUM_ANSWERED]
    runs.append(write_predictions(root / "few", few, of_skill({}, 1.0, chattiness=0.0)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        return page_text(root, monkeypatch, tuple(runs), samples, num_resamples=0)


def test_runs_that_failed_entirely_are_named(text):
    for name in ("failed", "failed-too"):
        assert f"{name} has no answers and no figures; 36 rows failed." in text
    assert "whole: " not in text[: text.index("Headline metrics")]


def test_failed_rows_have_their_share_and_reasons(text):
    assert "part: 27 rows failed and have no answer, 75.0% of its rows. They count as empty answers;" in text
    assert f"{REASONS[0]} (18)" in text
    assert re.search(r"part IND diverse no answer: the row failed 9 75\.0%", text)
    assert "the engine&#39;s answer is &lt;no text&gt; (9)" in text


def test_the_run_that_was_asked_a_few_rows_is_neither_best_nor_silent(text):
    assert "not comparable: the runs have no task with the same number of rows in common" in text
    assert f"{NUM_ANSWERED} of {NUM_TEST} rows" in text


def test_without_resamples_no_interval_and_no_comparison_is_promised(text):
    overview = text[text.index("Headline metrics") : text.index("The runs")]
    assert "num_resamples=0" in overview
    assert "are not compared with each other for the same reason" in overview
    assert "interval of a bootstrap" not in overview
    assert "the whole interval" not in overview
    assert "Runs compared" not in text


def test_intervals_are_missed_only_where_there_are_figures():
    unscored = row("tuned", None, "my own task")
    assert has_intervals([unscored])
    assert has_intervals([unscored, row("tuned", 0.5, PM, low=0.4)])
    assert not has_intervals([unscored, row("tuned", 0.5, PM)])


def test_what_is_counted_of_rankings_is_called_parts(text):
    assert re.search(r"\d+ unreadable parts", text)
    assert "Rows Unreadable parts" in text


def test_of_few_rows_nothing_is_clear():
    few, enough = (row("tuned", 0.9, PM, low=0.8, num_samples=number) for number in (29, 30))
    floor = row("floor-x", 0.5, PM)
    assert [verdict_of(each, floor) for each in (few, enough)] == [Verdict.UNCLEAR, Verdict.ABOVE]


def test_rows_are_those_of_the_run_with_the_most_answers():
    lines = headline_rows([row("whole", 0.5, PM), row("part", 0.9, PM, num_samples=3)], ["whole", "part"])
    ((line,),) = [group.lines for group in headline_groups(lines, {PM: "task-pm"})]
    assert (line.num_samples, [cell.rows for cell in line.cells]) == (100, ["", "3 of 100 rows"])
