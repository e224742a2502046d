"""The table of readers of raw files: how the job calls each of them, and valid files to begin with.

A reader is what a job's step does with a file, up to the rows that it hands on: decoding, checks, quarantine, staging.
"""

import gzip
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq

from ecellm.config import OwnDataDefaults, StorageConfig
from ecellm.dataset.builders import extractions, matching, metadata, questions, reviews, sequences
from ecellm.dataset.builders.flow import Context
from ecellm.dataset.builders.purchases import stage_ratings
from ecellm.dataset.instructions import read_catalogue
from ecellm.dataset.qpr_labels import read_qpr_labels
from ecellm.dataset.split_release import split_release
from ecellm.schema import QUARANTINE
from ecellm.sources import amazon_google, synthetic_raw
from ecellm.sources.fetch_addresses import read_addresses
from ecellm.sources.release import check_ends
from ecellm.sources.synthetic import Sizes, write_qpr_labels, write_release
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.storage import Storage
from tests.conftest import ROOT

STORAGE = Storage()
CATEGORY = "Electronics"
REVIEWS, META = f"amazon_review_2018/review/{CATEGORY}.json.gz", f"amazon_review_2018/meta/meta_{CATEGORY}.json.gz"
OLD_META = f"amazon_review_2014/meta/meta_{CATEGORY}.json.gz"
RATINGS = f"amazon_review_2018/rating/{CATEGORY}.csv"
GOOGLE = [
    f"amazon_google/{name}" for name in ("Amazon.csv", "GoogleProducts.csv", "Amzon_GoogleProducts_perfectMapping.csv")
]
_NUM_LINES = 6


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: what tests call it.
        file: path of the file below the scratch directory.
        seeds: valid contents, small, not compressed.
        read: `read(scratch)` does what the job does with the file; raises InputError where it refuses it.
        is_json: whether the seeds are JSON, or JSON lines where `has_lines`.
        has_lines: whether a bad line is put aside, and the others are read.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    is_json: bool = False
    has_lines: bool = False

    def write(self, scratch, content):
        """Write a content where the reader looks for it, compressed where its name says so; return the path."""
        path = scratch / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)
        return path


def _one_after_the_other(shards, function, *, name, function_args):
    return [function(shard, **function_args) for shard in shards]


@cache
def raw_world():
    """Write a small made-up world once; return its directory."""
    directory = Path(tempfile.mkdtemp(prefix="ecellm-fuzz-world-"))
    with mock.patch.object(synthetic_raw, "run_shards", _one_after_the_other):
        write_raw_world(str(directory), WorldSize(num_reviews=500, in_domain=(CATEGORY,), out_of_domain=()))
    return directory


@cache
def raw_lines(file):
    """Return the content of a raw file, decompressed, in lines."""
    content = (raw_world() / file).read_bytes()
    return (gzip.decompress(content) if file.endswith(".gz") else content).splitlines(keepends=True)


def _some_lines(file):
    return lambda: [b"".join(raw_lines(file)[start : start + _NUM_LINES]) for start in (0, 40)]


@cache
def release_rows():
    """Return some rows of the made-up release, of every task."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "release.json"
        write_release(
            path, sizes=Sizes(train=1, val=1, test=1), settings=["IND_Diverse_Instruction", "OOD_Diverse_Instruction"]
        )
        return json.loads(path.read_text())


@cache
def qpr_labels():
    """Return labels of the made-up release."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "labels.json"
        write_qpr_labels(path, sizes=Sizes(train=2, val=1, test=4))
        return path.read_bytes()


def _array():
    return [json.dumps(release_rows()[start::4]).encode() for start in (0, 1)]


def _lines():
    return [b"".join(json.dumps(row).encode() + b"\n" for row in release_rows()[start::4]) for start in (0, 1)]


def _catalogue():
    own = json.loads((ROOT / "ecellm/tasks/instructions.json").read_text())
    return [json.dumps({"tasks": {name: own["tasks"][name] for name in ("PM", "AG")}}).encode()]


def ingest(file):
    """Return what ingest does with a release: a look at its ends, then the first half of the work."""

    def read(scratch):
        path, out = str(scratch / file), str(scratch / "out")
        check_ends(STORAGE, path)
        result = split_release(path, out, StorageConfig().model_dump(), OwnDataDefaults().model_dump(), "quarantine")
        staged = sum(pq.ParquetFile(chunk["file"]).read().num_rows for chunk in result["chunks"])
        assert staged + result["num_bad_rows"] == result["num_rows"], "a row got lost"
        assert quarantined(out) == result["num_bad_rows"]
        return staged

    return read


def quarantined(output_dir):
    """Return how many rows lie in the quarantine; they have its schema."""
    tables = [pq.ParquetFile(file).read() for file in STORAGE.list_files(f"{output_dir}/quarantine")]
    assert all(table.schema.equals(QUARANTINE) and table["reason"].null_count == 0 for table in tables)
    return sum(table.num_rows for table in tables)


def _step(file, look, step):
    """Return what build does with a raw file: a look before the work, then the step that reads all of it."""

    def read(scratch):
        context = Context(StorageConfig().model_dump(), str(scratch), str(scratch / "out"), 1)
        look(STORAGE, str(scratch), [CATEGORY])
        result = step(context, str(scratch / file))
        bad = sum(result.get("quarantined", {}).values())
        assert quarantined(scratch / "out") == bad
        return result

    return read


def _look_at_sequences(storage, raw_dir, categories):
    for file in (META,):
        target = Path(raw_dir) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((raw_world() / file).read_bytes())
    sequences._look(storage, raw_dir, categories)


def _google(scratch):
    """Read the three files; those that are not damaged are the made-up ones."""
    for file in GOOGLE:
        target = scratch / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            target.write_bytes((raw_world() / file).read_bytes())
    matching._look(STORAGE, str(scratch), ())
    return len(amazon_google.read(STORAGE, str(scratch)).mapping)


def _no_look(*_arguments):
    """Where the look before the work is another reader's."""


DOMAINS = {name: {CATEGORY: "IND"} for name in ("Answerability_Prediction", "Answer_Generation")}
READERS = [
    Reader("release", "release.json", _array, ingest("release.json"), is_json=True),
    Reader("release-gz", "release.json.gz", _array, ingest("release.json.gz"), is_json=True),
    Reader("release-lines", "release.jsonl", _lines, ingest("release.jsonl"), is_json=True),
    Reader("release-lines-gz", "release.jsonl.gz", _lines, ingest("release.jsonl.gz"), is_json=True),
    Reader("qpr-labels", "labels.json", lambda: [qpr_labels()], lambda own: read_qpr_labels(STORAGE, str(own / "labels.json")), is_json=True),
    Reader("catalogue", "instructions.json", _catalogue, lambda own: read_catalogue(STORAGE, str(own / "instructions.json")), is_json=True),
    Reader("reviews", REVIEWS, _some_lines(REVIEWS), _step(
        REVIEWS, reviews._look,
        lambda context, file: reviews.stage_reviews(context, category=CATEGORY, file=file, number=4)),
        is_json=True, has_lines=True),
    Reader("metadata", META, _some_lines(META), _step(
        META, metadata.look_at_products, lambda context, _file: metadata.stage_products(context, category=CATEGORY, number=4)),
        is_json=True, has_lines=True),
    Reader("metadata-2014", OLD_META, _some_lines(OLD_META), _step(
        OLD_META, _no_look, lambda context, _file: metadata.stage_old_products(context, category=CATEGORY, number=4)),
        has_lines=True),
    Reader("ratings", RATINGS, _some_lines(RATINGS), _step(
        RATINGS, _look_at_sequences, lambda context, _file: stage_ratings(context, category=CATEGORY, number=4)),
        has_lines=True),
    Reader("questions", "amazon_qa/train-qar.jsonl", _some_lines("amazon_qa/train-qar.jsonl"), _step(
        "amazon_qa/train-qar.jsonl", _no_look,
        lambda context, file: questions.stage_questions(context, split="train", file=file, domains=DOMAINS, number=4)),
        is_json=True, has_lines=True),
    Reader("mave", "mave/mave_positives.jsonl", _some_lines("mave/mave_positives.jsonl"), _step(
        "mave/mave_positives.jsonl", _no_look,
        lambda context, file: extractions.stage_products(context, part="mave", kind="positives", file=file, number=4)),
        is_json=True, has_lines=True),
    *(Reader(f"amazon-google-{number}", file, lambda file=file: [(raw_world() / file).read_bytes()], _google)
      for number, file in enumerate(GOOGLE)),
    Reader("addresses", "upstream.yaml", lambda: [_FEW_ADDRESSES], lambda own: read_addresses(STORAGE, str(own / "upstream.yaml"))),
]  # fmt: skip
_FEW_ADDRESSES = b"""files:
  - source: made_up
    name: made_up/file.json
    url: https://example.org/file.json
    sha256: null
    size: 12
    licence: none
    checked: 2024-01-31
"""
