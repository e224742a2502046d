"""The files of the made-up world: their bytes hang on seed and size alone, and real data are never overwritten."""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest

from ecellm.config import StorageConfig
from ecellm.errors import InputError
from ecellm.sources import synthetic_raw, synthetic_size
from ecellm.sources.synthetic_raw import SOURCES, WorldSize, write_raw_world
from ecellm.storage import Storage
from tests.conftest import ROOT

SIZE = WorldSize(num_reviews=2000)
# Small blocks, so that files are made of several parts.
BLOCK_ROWS = {"products": 50, "reviews": 150, "queries": 40, "questions": 60, "extractions": 60}


def one_after_the_other(shards, function, *, name, function_args):
    """Do the work of a cluster of one worker that takes the blocks from behind."""
    return [function(shard, **function_args) for shard in reversed(shards)]


@pytest.fixture
def serial(monkeypatch):
    monkeypatch.setattr(synthetic_raw, "run_shards", one_after_the_other)
    monkeypatch.setattr(synthetic_size, "_BLOCK_ROWS", BLOCK_ROWS)


@pytest.fixture(scope="module")
def world(tmp_path_factory, local_ray):
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_size, "_BLOCK_ROWS", BLOCK_ROWS)
        counts = write_raw_world(str(root), SIZE)
    return root, counts


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_one_worker_and_many_write_the_same_bytes(world, tmp_path, serial):
    root, counts = world
    assert write_raw_world(str(tmp_path), SIZE) == counts
    assert contents(tmp_path) == contents(root)


def test_sources_can_be_written_apart_and_again(world, tmp_path, serial):
    for sources in (["mave"], ["amazon_review_2014", "shopping_queries"], ["mave"]):
        write_raw_world(str(tmp_path), SIZE, sources=sources)
    expected = contents(world[0])
    written = contents(tmp_path)
    assert {name: expected[name] for name in written} == written
    assert {name.split("/")[0] for name in written} == {"mave", "amazon_review_2014", "shopping_queries"}


def test_another_seed_gives_other_bytes(world, tmp_path, serial):
    write_raw_world(str(tmp_path), SIZE, seed=2)
    first, second = contents(world[0]), contents(tmp_path)
    assert list(first) == list(second)
    assert all(first[name] != second[name] for name in first)


def test_an_object_store_gets_the_same_bytes(world, tmp_path, serial, store, monkeypatch):
    store.log_in(monkeypatch, "synthetic-test")
    storage = Storage(StorageConfig(endpoint_url=store.endpoint_url, max_retries=1))
    sources = ["amazon_google", "mave", "shopping_queries"]
    write_raw_world("s3://synthetic-test/raw", SIZE, sources=sources, storage=storage)
    storage.download_dir("s3://synthetic-test/raw", tmp_path)
    expected = {name: data for name, data in contents(world[0]).items() if name.split("/")[0] in sources}
    assert contents(tmp_path) == expected


def test_every_file_is_there_with_the_rows_that_were_told(world):
    root, counts = world
    files = {name for name in contents(root) if not name.endswith("_synthetic.json")}
    assert set(counts) == files
    for name, rows in counts.items():
        path = root / name
        if path.suffix == ".parquet":
            assert pq.ParquetFile(path).metadata.num_rows == rows
        else:
            data = path.read_bytes()
            lines = (gzip.decompress(data) if path.suffix == ".gz" else data).count(b"\n")
            assert lines == rows + name.startswith("amazon_google")
    assert sum(rows for name, rows in counts.items() if "/review/" in name) == 2000
    assert {name.split("/")[0] for name in counts} == set(SOURCES)


def test_cut_lines_come_on_top_of_the_others_and_only_if_asked_for(world, tmp_path, serial):
    counts = write_raw_world(
        str(tmp_path), WorldSize(num_reviews=2000, malformed_rate=0.05), sources=["amazon_qa", "amazon_review_2018"]
    )
    for name, rows in counts.items():
        if name.endswith(".csv"):
            assert (tmp_path / name).read_bytes() == (world[0] / name).read_bytes()
            continue
        old, new = ((root / name).read_bytes() for root in (world[0], tmp_path))
        if name.endswith(".gz"):
            old, new = gzip.decompress(old), gzip.decompress(new)
        cut = Counter(new.splitlines()) - Counter(old.splitlines())
        assert len(new.splitlines()) == rows + cut.total()
        for line in cut:
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)
    assert counts == {name: rows for name, rows in world[1].items() if name in counts}


def test_data_that_are_not_made_up_are_left_alone(tmp_path, serial):
    (tmp_path / "mave").mkdir()
    (tmp_path / "mave" / "mave_positives.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="mave holds data that are not made up"):
        write_raw_world(str(tmp_path), SIZE)
    write_raw_world(str(tmp_path), SIZE, sources=["amazon_google"])
    assert (tmp_path / "mave" / "mave_positives.jsonl").read_text() == "{}\n"
    with pytest.raises(InputError, match="another seed or size"):
        write_raw_world(str(tmp_path), SIZE, seed=2, sources=["amazon_qa"])


@pytest.mark.parametrize(
    ("arguments", "code", "last_line"),
    [
        (
            ["--scale", "500", "--sources", "mave,amazon_google"],
            0,
            r"ecellm: exit=0 reason=680 rows in 5 files in \d+ s",
        ),
        (["--scale", "499"], 2, "ecellm: exit=2 reason=num_reviews=499: .*at least 500 reviews"),
        (["--scale", "500", "--sources", "MAVE"], 2, "ecellm: exit=2 reason=unknown source MAVE: choose out of .*"),
    ],
)
def test_the_job_says_how_it_ended(arguments, code, last_line, tmp_path):
    command = [sys.executable, "-m", "jobs.synthesize", str(tmp_path / "raw"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == code
    lines = done.stdout.splitlines()
    assert re.fullmatch(last_line, lines[-1])
    if code == 0:
        assert re.search(r"mave/mave_positives.jsonl +150 rows +\d+\.\d MB", done.stdout)


def test_what_cannot_be_made_up_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least 500 reviews"):
        WorldSize(num_reviews=10)
    with pytest.raises(InputError, match="categories Books"):
        WorldSize(num_reviews=1000, in_domain=("Books",))
    with pytest.raises(InputError, match="num_products=7"):
        WorldSize(num_reviews=1000, num_products=7)
    with pytest.raises(InputError, match="unknown source amazon"):
        write_raw_world(str(tmp_path), SIZE, sources=["amazon"])
