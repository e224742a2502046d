"""What the tests of the build share: builds without Ray, tables to compare, and raw files by hand."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.dataset.builders import flow
from ecellm.storage import Storage

DIVERSE = "IND_Diverse_Instruction"


def run_in_process(shards, function, *, name, function_args, num_workers=None):
    """Do what `run_shards` does, one shard after the other, here; `name` and `num_workers` do not matter."""
    for shard in shards:
        result = function(json.loads(json.dumps(shard)), **function_args)
        yield json.loads(json.dumps(result))


@pytest.fixture
def in_process(monkeypatch, local_ray):
    """Builds run their steps in the test's own process: for tests of what is built, not of how it is spread."""
    monkeypatch.setattr(flow, "run_shards", run_in_process)


def tables(directory):
    """Return every data file of a build as a table, by its path below the directory."""
    files = sorted(Path(directory).glob("data/**/*.parquet"))
    assert files
    return {str(file.relative_to(directory)): pq.ParquetFile(file).read() for file in files}


def assert_same_rows(directory, reference):
    """Compare all columns and the order of all rows of two builds, partition by partition."""
    ours, theirs = tables(directory), tables(reference)
    assert list(ours) == list(theirs)
    for name, table in ours.items():
        assert table.schema.equals(theirs[name].schema, check_metadata=True), name
        assert table.equals(theirs[name]), name


def rows_of(directory, task, split, setting=DIVERSE):
    """Return the rows of one partition in file order."""
    path = Path(directory) / "data" / f"setting={setting}" / f"split={split}" / f"task={task}"
    return [row for file in sorted(path.glob("*.parquet")) for row in pq.ParquetFile(file).read().to_pylist()]


def quality(directory):
    """Return the quality report's rows."""
    return Storage().read_table(f"{directory}/quality/data/part-00000.parquet").to_pylist()


def figures(directory, check, **of):
    """Return value by (split, detail) of one check of the quality report."""
    return {
        (row["split"], row["detail"]): row["value"]
        for row in quality(directory)
        if row["check"] == check and all(row[name] == value for name, value in of.items())
    }


def manifest(directory):
    """Return the manifest of a finished build."""
    return json.loads((Path(directory) / "_manifest.json").read_text())


def write_lines(path, lines):
    """Write lines of bytes or JSON-able values, gzip where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def append_lines(path, lines):
    """Append lines of bytes to a file of lines (a gzip member of its own, if it is gzip)."""
    data = b"".join(line + b"\n" for line in lines)
    with path.open("ab") as file:
        file.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def write_reviews(raw_dir, category, reviews):
    """Write a category's review file from (text, stars, asin, user)."""
    names = ("reviewText", "overall", "asin", "reviewerID")
    lines = [dict(zip(names, review, strict=True)) for review in reviews]
    write_lines(Path(raw_dir) / "amazon_review_2018" / "review" / f"{category}.json.gz", lines)


def write_ratings(raw, num_items):
    """Write a category in which every one of eight users bought every item: nothing falls out of the 5-core."""
    directory = Path(raw) / "amazon_review_2018"
    items = [f"B{number:09d}" for number in range(num_items)]
    lines = [f"{item},U{user},5.0,{place}".encode() for user in range(8) for place, item in enumerate(items)]
    write_lines(directory / "rating" / "Toys.csv", lines)
    products = [{"asin": item, "title": f"toy {item}", "category": ["Toys"], "brand": "x"} for item in items]
    write_lines(directory / "meta" / "meta_Toys.json.gz", products)


def write_questions(raw_dir, questions):
    """Write the three files of AmazonQA from {split: [(question, snippets, is_answerable, asin)]}."""
    for split in ("train", "val", "test"):
        lines = [
            {
                "asin": asin, "category": "Toys", "questionText": text, "questionType": "descriptive", "qid": number,
                "review_snippets": snippets, "is_answerable": answerable,
                "answers": [{"answerText": f"answer {number}", "answerType": "NA", "helpful": [1, 1]}],
            }
            for number, (text, snippets, answerable, asin) in enumerate(questions.get(split, []))
        ]  # fmt: skip
        write_lines(Path(raw_dir) / "amazon_qa" / f"{split}-qar.jsonl", lines)


def empty_like(schema):
    """Return a table without rows."""
    return pa.table({field.name: pa.array([], field.type) for field in schema})
