"""The dataset card and the quality report of a build: what they say is what is there, and other tools read the data."""

import math
from collections import Counter

import datasets
import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from ecellm.dataset.partitions import Partition
from ecellm.dataset.quality.card import render_card
from ecellm.dataset.quality.report import QUARANTINED as UNREADABLE
from ecellm.schema import QUALITY
from ecellm.settings import SETTINGS
from ecellm.tasks import TASKS
from tests.dataset.conftest import build
from tests.dataset.small_builds import in_process, quality, write_questions  # noqa: F401

DIVERSE = "IND_Diverse_Instruction"


@pytest.fixture(scope="module")
def card(built):
    return (built / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(built):
    return quality(built)


def table_under(card, *header):
    """Return the rows of the card's table that has this header, as texts."""
    lines = iter(card.splitlines())
    for line in lines:
        if cells(line) == list(header):
            next(lines)  # the dashes
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows.append(cells(row))
    raise AssertionError(f"no table with the columns {header}")


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def values_of(report, check):
    """Return the figures of one check by task, "IND train", and detail."""
    return {
        (row["task"], f"{row['domain']} {row['split']}", row["detail"]): row["value"]
        for row in report
        if row["check"] == check
    }


def test_front_matter_names_settings_splits_and_files_that_are_there(built, card):
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["language"] == ["en"]
    assert fields["size_categories"] == ["10K<n<100K"]
    found = {}
    for config in fields["configs"]:
        for file in config["data_files"]:
            assert list(built.glob(file["path"]))
            found.setdefault(config["config_name"], set()).add(file["split"])
    there = {}
    for path in built.glob("data/*/*"):
        there.setdefault(path.parent.name.removeprefix("setting="), set()).add(path.name.removeprefix("split="))
    assert found == there
    assert set(found) == set(SETTINGS)
    assert found[DIVERSE] == {"train", "val", "test"}
    assert body.startswith(f"\n# {fields['pretty_name']}\n")
    assert not {"{{", "{%", "None", "nan"} & set(body.split())


def test_other_tools_read_the_data_and_agree(built, samples, tmp_path):
    expected = samples[samples["setting"] == DIVERSE].groupby(["split", "task"]).size().to_dict()

    loaded = datasets.load_dataset(str(built), DIVERSE, cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "val", "test"}
    by_datasets = {
        (split, task): rows
        for split, own in loaded.items()
        for task, rows in own.to_pandas().groupby("task").size().items()
    }
    assert by_datasets == expected

    by_duckdb = duckdb.sql(
        f"SELECT split, task, count(*) FROM read_parquet('{built}/data/**/*.parquet') "
        f"WHERE setting = '{DIVERSE}' GROUP BY ALL"
    ).fetchall()
    assert {(split, task): rows for split, task, rows in by_duckdb} == expected

    train = pd.read_parquet(built / "data" / f"setting={DIVERSE}" / "split=train")
    assert train.groupby("task").size().to_dict() == {
        task: rows for (split, task), rows in expected.items() if split == "train"
    }


def test_the_table_of_rows_counts_what_is_there(card, samples):
    counts = samples.groupby(["setting", "split", "task"]).size()
    places = (
        ("IND_Diverse_Instruction", "train"),
        ("IND_Diverse_Instruction", "val"),
        ("IND_Diverse_Instruction", "test"),
        ("OOD_Diverse_Instruction", "test"),
    )
    expected = []
    for task in sorted(task.name for task in TASKS):
        figures = [counts.get((*place, task), 0) for place in places]
        expected.append([task, *(f"{rows:,}" if rows else "-" for rows in figures)])
    assert table_under(card, "task", "train", "val", "IND test", "OOD test") == expected
    assert f"\n{len(samples):,} samples of 10 e-commerce tasks" in card


def test_what_was_left_out_is_what_the_report_says(card, report):
    shown = table_under(card, "task", "reason", "rows")
    expected = [[row["task"], row["detail"], f"{row['value']:,.0f}"] for row in report if row["check"] == "left out"]
    assert shown == expected
    assert {task for task, *_ in shown} >= {"Product_Relation_Prediction", "Sequential_Recommendation"}
    assert "\nWhat was left out, and why:\n" in card  # no line was unreadable


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([], ""),
        ([0], ""),
        ([1200, 3], " (1,203 lines could not be read; they are in `quarantine/` with file and line number)"),
    ],
)
def test_unreadable_lines_are_told_only_if_there_are_any(numbers, told):
    card = render_card(
        name="plain",
        rows=[{"check": UNREADABLE, "value": number, "detail": "file"} for number in numbers],
        counts=Counter({Partition(DIVERSE, "train", "Answerability_Prediction"): 5}),
        notes=[],
        config={"leakage": "report", "near_duplicate_rows": 0, "seed": 1, "categories": "none"},
        recipe="python -m jobs.build",
    )
    assert f"\nWhat was left out, and why{told}:\n" in card


def test_leaks_are_what_is_in_the_data_in_the_report_and_on_the_card(card, report, samples):
    header = ("task", "test", "train rows with its inputs", "products", "users", "queries")
    shown = {(row[0], row[1]): row[2] for row in table_under(card, *header)}
    reported = values_of(report, "train row whose input is in a test split")
    train = samples[(samples["setting"] == DIVERSE) & (samples["split"] == "train")]
    for domain in ("IND", "OOD"):
        test = samples[(samples["setting"] == f"{domain}_Diverse_Instruction") & (samples["split"] == "test")]
        for task in sorted(set(test["task"])):
            own, inputs = train[train["task"] == task], set(test[test["task"] == task]["input"])
            rows = int(own["input"].isin(inputs).sum())
            assert reported[task, "IND train", f"{domain} test"] == rows
            assert shown[task, f"{domain} test"] == (f"{rows:,} ({rows / len(own):.1%})" if rows else "0")
    assert len(shown) == len(reported)


def test_leaks_and_repeats_are_counted_with_their_shares(tmp_path, in_process):  # noqa: F811
    questions = {
        "train": [("again?", ["a snippet"], True, f"B{number}") for number in range(3)]
        + [(f"is it {number}?", ["a snippet"], True, f"A{number}") for number in range(5)],
        "val": [("is it new?", ["a snippet"], True, "C1")],
        "test": [("again?", ["a snippet"], True, "B1"), ("is it 2?", ["another one"], True, "D1")],
    }
    write_questions(tmp_path, questions)
    out = build(tmp_path / "out", raw_dir=str(tmp_path), tasks=["AP"], categories={"AP": {"in_domain": ["Toys"]}})
    card = (out / "README.md").read_text(encoding="utf-8")
    name = "Answerability_Prediction"
    header = ("task", "test", "train rows with its inputs", "products", "users", "queries")
    assert table_under(card, *header) == [[name, "IND test", "3 (37.5%)", "50.0%", "-", "-"]]
    header = ("task", "split", "repeated within", "exact in another split", "near within", "near in train")
    train, _, test = table_under(card, *header)
    assert train[:4] == [name, "IND train", "2 (25.0%)", "IND test: 3 (37.5%)"]
    assert test[:4] == [name, "IND test", "0", "0"]


def test_lengths_are_those_of_the_data(card, report, samples):
    shown = table_under(card, "task", "split", "median", "90 %", "99 %", "longest")
    reported = values_of(report, "characters")
    diverse = samples[samples["setting"].str.endswith("_Diverse_Instruction")]
    lengths = diverse["input"].str.len() + diverse["options"].str.len().fillna(0) + diverse["output"].str.len()
    by_split = lengths.groupby([diverse["task"], diverse["domain"] + " " + diverse["split"]])
    assert len(shown) == len(by_split)
    for (task, split), own in by_split:
        figures = [reported[task, split, name] for name in ("p50", "p90", "p99", "max")]
        assert [task, split, *(f"{figure:,.0f}" for figure in figures)] in shown
        assert figures == sorted(figures)
        for figure, quantile in zip(figures, (0.5, 0.9, 0.99, 1.0), strict=True):
            assert figure == two_digits(nearest_rank(own, quantile)), (task, split)


def nearest_rank(values, quantile):
    ordered = sorted(values)
    return int(ordered[math.ceil(quantile * len(ordered) - 1e-9) - 1])


def two_digits(number):
    """Round down to two digits, as the report does."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def test_answers_are_those_of_the_train_split(card, report, samples):
    shown = dict(table_under(card, "task", "answers"))
    train = samples[(samples["setting"] == DIVERSE) & (samples["split"] == "train")]
    reported = values_of(report, "answer")
    for task in ("Product_Matching", "Product_Substitute_Identification", "Answerability_Prediction"):
        answers = train[train["task"] == task]["output"].value_counts()
        for answer, rows in answers.items():
            assert reported[task, "IND train", answer] == rows
            assert f"{answer} {rows / answers.sum():.1%}" in shown[task]


def test_every_task_has_its_card(card):
    parts = card.split("\n### ")[1:]
    assert [part.splitlines()[0] for part in parts] == sorted(task.name for task in TASKS)
    for part in parts:
        for name in ("Source", "Licence", "Recipe", "Checked against the release", "Unavoidable by the recipe"):
            assert f"\n- {name}: " in part


def test_the_report_has_the_published_schema(built, report):
    (file,) = (built / "quality" / "data").glob("*.parquet")
    schema = pq.read_schema(file)
    assert schema.equals(QUALITY, check_metadata=True)
    assert {task for row in report for task in row["task"].split(", ")} == {task.name for task in TASKS}
    assert {row["domain"] for row in report} == {"IND", "OOD", None}
    assert all(row["share"] is None or 0 <= row["share"] <= 1 for row in report)
    examples = values_of(report, "examples")
    assert sum(examples.values()) > 1000
