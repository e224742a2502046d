"""Near duplicates and shared ids of small data made by hand, with known counts."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.dataset.quality.card import render_card
from ecellm.tasks import task_named
from tests.dataset.conftest import build
from tests.dataset.small_builds import figures, in_process, quality, rows_of, write_questions  # noqa: F401

AP = task_named("AP").name
CATEGORIES = {"AP": {"in_domain": ["Toys"]}}
LONG = " ".join(f"word{number}" for number in range(120))


def question(number, *, end=""):
    """Return a question about a text of its own; the end makes a near duplicate of it."""
    return (f"question{number} {LONG.replace('word', f'w{number}x')}{end}?", [f"snippet {number}"], 1, f"B{number}")


@pytest.fixture
def near(tmp_path, in_process):  # noqa: F811
    """In train 10 texts, of which two come again with another end and one as it is; in test two near ones of train."""
    train = [question(number) for number in range(10)]
    train += [question(0, end=" really"), question(1, end=" truly"), question(2)]
    questions = {
        "train": train,
        "val": [question(50), question(51)],
        "test": [question(3, end=" perhaps"), question(4, end=" surely"), question(5), question(60)],
    }
    write_questions(tmp_path / "raw", questions)
    return tmp_path


def found(out, check):
    return {split: value for (split, _), value in figures(out, check, task=AP).items()}


def test_near_duplicates_are_counted_and_exact_ones_are_not(near):
    out = build(near / "out", raw_dir=str(near / "raw"), tasks=["AP"], categories=CATEGORIES)
    # Both of a pair have a near duplicate; the text that comes again as it is has none.
    assert found(out, "near duplicate within the split") == {"train": 4, "val": 0, "test": 0}
    assert found(out, "near duplicate in train") == {"test": 2}
    (row,) = [row for row in quality(out) if row["check"] == "near duplicate in train"]
    assert (row["share"], row["detail"]) == (2 / 4, "of the first 4 rows")


def test_near_duplicates_are_looked_for_in_the_first_rows_or_not_at_all(near):
    fields = {"raw_dir": str(near / "raw"), "tasks": ["AP"], "categories": CATEGORIES}
    some = build(near / "some", near_duplicate_rows=5, **fields)
    details = {
        row["split"]: row["detail"] for row in quality(some) if row["check"] == "near duplicate within the split"
    }
    assert details == {"train": "of the first 5 rows", "val": "of the first 2 rows", "test": "of the first 4 rows"}
    none = build(near / "none", near_duplicate_rows=0, **fields)
    assert not [row for row in quality(none) if row["check"].startswith("near")]


def test_products_and_queries_that_a_test_split_shares_with_train(tmp_path, in_process):  # noqa: F811
    """Queries 0 to 9 are upstream's train, 8 to 11 its test: two of these are of both."""
    judged = [(query, query % 6, "train") for query in range(10)] + [
        (query, query, "test") for query in range(8, 12)
    ] * 2
    examples = {
        "example_id": list(range(len(judged))),
        "query": [f"query number {query}" for query, _, _ in judged],
        "query_id": [query for query, _, _ in judged],
        "product_id": [f"B{product}" for _, product, _ in judged],
        "product_locale": ["us"] * len(judged),
        "esci_label": [("E", "S")[place % 2] for place in range(len(judged))],
        "small_version": [1] * len(judged),
        "split": [split for _, _, split in judged],
    }
    products = {
        "product_id": [f"B{number}" for number in range(12)],
        "product_locale": ["us"] * 12,
        "product_title": [f"title {number}" for number in range(12)],
    }
    directory = tmp_path / "shopping_queries"
    directory.mkdir()
    for name, columns in (("examples", examples), ("products", products)):
        pq.write_table(pa.table(columns), directory / f"shopping_queries_dataset_{name}.parquet")
    out = build(tmp_path / "out", raw_dir=str(tmp_path), tasks=["PSI"])
    name = task_named("PSI").name
    train, test = (rows_of(out, name, split) for split in ("train", "test"))
    for kind, place in (("product", 0), ("query", 1)):
        ids = [{row["source_ids"][place] for row in rows} for rows in (train, test)]
        (row,) = [row for row in quality(out) if (row["check"], row["detail"]) == ("shared with train", kind)]
        assert row["value"] == len(ids[0] & ids[1])
        assert row["share"] == len(ids[0] & ids[1]) / len(ids[1])


@pytest.mark.parametrize(
    ("name", "rows", "size"),
    [("plain", 999, "n<1K"), ("a: b #1 'x' \"y\"", 1000, "1K<n<10K"), ("{x} & [y]", 5 * 10**7, "10M<n<100M")],
)
def test_the_card_s_front_matter_holds_any_name_and_size(name, rows, size):
    import yaml

    from ecellm.dataset.partitions import Partition

    card = render_card(
        name=name,
        rows=[],
        counts=Counter({Partition("IND_Diverse_Instruction", "train", AP): rows}),
        notes=[],
        config={"leakage": "report", "near_duplicate_rows": 0, "seed": 1, "categories": "none"},
        recipe="python -m jobs.build",
    )
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pretty_name"] == name
    assert front["size_categories"] == [size]
