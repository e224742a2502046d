"""Duplicates and leaks: counted, removed or refused, with known counts in small data made by hand."""

import json
from collections import Counter

import pytest

from ecellm.command_line import main
from ecellm.config import BuildConfig
from ecellm.dataset.build import STAGE
from ecellm.errors import InputError
from ecellm.stage import execute
from ecellm.tasks import task_named
from tests.dataset.conftest import build, read_samples
from tests.dataset.small_builds import (
    figures,
    in_process,  # noqa: F401
    manifest,
    quality,
    rows_of,
    write_questions,
    write_reviews,
)

SA, AP = (task_named(name).name for name in ("SA", "AP"))
CATEGORIES = {
    "SA": {"in_domain": ["Toys"], "out_of_domain": ["Tools"]},
    "AP": {"in_domain": ["Toys"]},
}
LEAK = "train row whose input is in a test split"
DROPPED = "train row removed as a leak"


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory):
    """Reviews of which many texts come with several stars, and questions that occur in several files.

    Equal texts with other stars are other examples with the same input: they fall into splits by chance.
    """
    raw = tmp_path_factory.mktemp("raw")
    text = "a review that says the same as many another one does, number"
    toys = [
        (f"{text} {number % 90}", float(1 + number // 90), f"B{number}", f"U{number % 40}") for number in range(270)
    ]
    tools = [(f"{text} {number}", 2.0 + number % 3, f"C{number}", f"U{number}") for number in range(100)]
    write_reviews(raw, "Toys", toys)
    write_reviews(raw, "Tools", tools)
    questions = {
        "train": [(f"question {number}?", ["snippet"], number % 2, f"B{number}") for number in range(20)],
        "val": [("question 0?", ["snippet"], 0, "B0"), ("other?", ["snippet"], 1, "B50")],
        # Two of train with another answer, one of train as it is, twice; one that is new.
        "test": [
            ("question 1?", ["snippet"], 0, "B1"), ("question 2?", ["snippet"], 1, "B200"),
            ("question 3?", ["snippet"], 1, "B3"), ("question 3?", ["snippet"], 1, "B300"),
            ("question 4?", ["another snippet"], 0, "B4"),
        ],
    }  # fmt: skip
    write_questions(raw, questions)
    return raw


@pytest.fixture(scope="module")
def outputs(raw_dir, local_ray, tmp_path_factory):
    """The same build with leaks reported, and removed."""
    from ecellm.dataset.builders import flow
    from tests.dataset.small_builds import run_in_process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "run_shards", run_in_process)
        fields = {"raw_dir": str(raw_dir), "tasks": ["SA", "AP"], "categories": CATEGORIES}
        return {
            leakage: build(tmp_path_factory.mktemp(leakage) / "out", leakage=leakage, **fields)
            for leakage in ("report", "drop")
        }


def leaking(directory, task):
    """Return the inputs that train rows share with each test split, by looking."""
    train = rows_of(directory, task, "train")
    tests = {
        domain: {row["input"] for row in rows_of(directory, task, "test", f"{domain}_Diverse_Instruction")}
        for domain in ("IND", "OOD")
    }
    return train, {domain: [row for row in train if row["input"] in own] for domain, own in tests.items()}


@pytest.mark.parametrize("task", [SA, AP])
def test_leaks_are_counted_for_each_test_split(outputs, task):
    _, leaks = leaking(outputs["report"], task)
    found = figures(outputs["report"], LEAK, task=task)
    assert found["train", "IND test"] == len(leaks["IND"]) > 2
    if task == SA:
        assert found["train", "OOD test"] == len(leaks["OOD"]) > 2
    else:
        assert found == {("train", "IND test"): 3}
    assert figures(outputs["report"], DROPPED) == {}
    assert "removed" not in " ".join(manifest(outputs["report"])["dropped"])


@pytest.mark.parametrize("task", [SA, AP])
def test_drop_removes_exactly_the_train_rows_that_leak(outputs, task):
    train, leaks = leaking(outputs["report"], task)
    inputs = {row["input"] for rows in leaks.values() for row in rows}
    kept = [row for row in train if row["input"] not in inputs]
    dropped = rows_of(outputs["drop"], task, "train")
    assert [row["sample_id"] for row in dropped] == [row["sample_id"] for row in kept], "no row is renamed"
    names = [name for name in dropped[0] if name != "row_index"]
    assert [[row[name] for name in names] for row in dropped] == [[row[name] for name in names] for row in kept]
    assert [row["row_index"] for row in dropped] == list(range(len(kept)))
    assert figures(outputs["drop"], DROPPED, task=task) == {("train", ""): len(train) - len(kept)}
    assert leaking(outputs["drop"], task)[1] == {"IND": [], "OOD": []}
    for split in ("val", "test"):
        assert rows_of(outputs["drop"], task, split) == rows_of(outputs["report"], task, split)


def test_what_was_dropped_is_in_manifest_and_card(outputs):
    number = sum(figures(outputs["drop"], DROPPED, task=task)["train", ""] for task in (SA, AP))
    assert manifest(outputs["drop"])["dropped"][LEAK] == number
    card = (outputs["drop"] / "README.md").read_text()
    assert "Leakage (`leakage: drop`). Train rows whose input is also in a test split, which were removed" in card
    assert manifest(outputs["drop"])["rows"] == len(read_samples(outputs["drop"]))


def test_after_dropping_1_shot_shows_rows_that_are_left(outputs):
    for setting in ("IND_Diverse_Instruction_1-shot", "OOD_Diverse_Instruction_1-shot"):
        train = rows_of(outputs["drop"], SA, "train")
        for row in rows_of(outputs["drop"], SA, "test", setting):
            expected = train[row["row_index"] % len(train)]
            assert row["few_shot_example"].startswith(f"Input: {expected['input']}\n")
            assert row["few_shot_example"].endswith(f"Answer: {expected['output']}")
            assert row["input"] not in row["few_shot_example"]


def test_fail_stops_with_the_exit_code_for_bad_input_and_leaves_nothing(raw_dir, tmp_path, local_ray, capsys):
    out = tmp_path / "out"
    code = main(
        STAGE,
        [
            f"raw_dir={raw_dir}",
            f"output_dir={out}",
            "tasks=[AP]",
            f"categories={json.dumps(CATEGORIES)}",
            "leakage=fail",
        ],
    )
    assert code == 2
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"ecellm: exit=2 reason=leakage=fail: train rows whose input is in a test split: {AP} 3.")
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_fail_passes_what_does_not_leak(raw_dir, tmp_path, in_process):  # noqa: F811
    questions = {split: [(f"{split}?", ["snippet"], 1, "B1")] * 2 for split in ("train", "val", "test")}
    write_questions(tmp_path / "raw", questions)
    fields = {"raw_dir": str(tmp_path / "raw"), "tasks": ["AP"], "categories": {"AP": {"in_domain": ["Toys"]}}}
    assert len(rows_of(build(tmp_path / "out", leakage="fail", **fields), AP, "train")) == 2


def test_dropping_every_train_row_is_refused(tmp_path, in_process):  # noqa: F811
    questions = {split: [("the same?", ["snippet"], 1, "B1")] * 2 for split in ("train", "val", "test")}
    write_questions(tmp_path / "raw", questions)
    fields = {"raw_dir": str(tmp_path / "raw"), "tasks": ["AP"], "categories": {"AP": {"in_domain": ["Toys"]}}}
    with pytest.raises(InputError, match=f"leakage=drop removes every train row of {AP}"):
        build(tmp_path / "out", leakage="drop", **fields)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_the_report_describes_the_rows_that_are_left(outputs):
    """Everything that can be counted from the rows is counted from the rows, whatever `leakage` says."""
    for directory in outputs.values():
        for task in (SA, AP):
            rows = {split: rows_of(directory, task, split) for split in ("train", "val", "test")}
            examples = figures(directory, "examples", task=task, domain="IND")
            assert examples == {(split, ""): len(own) for split, own in rows.items()}
            ids = {split: [row["example_id"] for row in own] for split, own in rows.items()}
            repeated = figures(directory, "exact duplicate within the split", task=task, domain="IND")
            assert repeated == {(split, ""): len(own) - len(set(own)) for split, own in ids.items()}
            answers = figures(directory, "answer", task=task, domain="IND")
            for split, own in rows.items():
                found = {answer: value for (of, answer), value in answers.items() if of == split}
                assert found == Counter(row["output"] for row in own)
            shared = figures(directory, "exact duplicate in another split", task=task, domain="IND")
            in_test = sum(own in set(ids["test"]) for own in ids["train"])
            assert shared.get(("train", "IND test"), 0) == in_test
            products = {split: {row["source_ids"][0] for row in own} for split, own in rows.items()}
            assert figures(directory, "shared with train", task=task, domain="IND", detail="product") == {
                ("test", "product"): len(products["train"] & products["test"])
            }
    assert figures(outputs["drop"], "exact duplicate in another split", task=AP)[("train", "IND val")] == 1
    assert ("train", "IND test") not in figures(outputs["drop"], "exact duplicate in another split", task=AP)


def test_domains_are_compared_by_what_the_rows_say(outputs):
    (row,) = [row for row in quality(outputs["report"]) if row["check"] == "in both domains"]
    assert (row["task"], row["domain"], row["detail"], row["value"], row["share"]) == (SA, "OOD", "", 0, 0)


def test_exact_duplicates_within_and_across_splits(outputs):
    by_split = {split: rows_of(outputs["report"], AP, split) for split in ("train", "val", "test")}
    ids = {split: [row["example_id"] for row in rows] for split, rows in by_split.items()}
    within = figures(outputs["report"], "exact duplicate within the split", task=AP)
    assert within == {(split, ""): len(own) - len(set(own)) for split, own in ids.items()}
    assert within["test", ""] == 1
    across = figures(outputs["report"], "exact duplicate in another split", task=AP)
    # "question 3?" is in train once (and in test twice), "question 0?" in train and val.
    assert across == {("train", "IND val"): 1, ("train", "IND test"): 1}


def test_shared_products_and_users(outputs):
    for domain in ("IND", "OOD"):
        test = rows_of(outputs["report"], SA, "test", f"{domain}_Diverse_Instruction")
        train = rows_of(outputs["report"], SA, "train")
        for kind, place in (("product", 0), ("user", 1)):
            named = {row["source_ids"][place] for row in train}
            ids = {row["source_ids"][place] for row in test}
            (row,) = [
                row
                for row in quality(outputs["report"])
                if (row["task"], row["check"], row["domain"], row["detail"]) == (SA, "shared with train", domain, kind)
            ]
            assert row["value"] == len(ids & named)
            assert row["share"] == len(ids & named) / len(ids)


def test_answers_and_lengths_are_those_of_the_rows(outputs):
    for task in (SA, AP):
        for split in ("train", "val"):
            rows = rows_of(outputs["report"], task, split)
            found = figures(outputs["report"], "answer", task=task)
            counts = Counter(row["output"] for row in rows)
            assert {answer: value for (own, answer), value in found.items() if own == split} == counts
            longest = max(len(row["input"]) + len(row["options"] or "") + len(row["output"]) for row in rows)
            found = figures(outputs["report"], "characters", task=task)[split, "max"]
            assert found <= longest < found * 1.1


def test_an_unknown_way_to_treat_leaks_is_refused():
    with pytest.raises(ValueError, match="leakage"):
        execute(STAGE, BuildConfig(raw_dir="x", output_dir="y", leakage="ignore"))
