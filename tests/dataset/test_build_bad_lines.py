"""Raw files with lines that cannot be read: put aside with file and line, counted, and of no effect on the others."""

import ast
import gzip
import json
import shutil
import time
from pathlib import Path

import pytest

from ecellm.errors import InputError
from ecellm.schema import QUARANTINE
from ecellm.shards import run_shards
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.storage import Storage
from tests.dataset.conftest import build
from tests.dataset.small_builds import (
    append_lines,
    assert_same_rows,
    in_process,  # noqa: F401
    manifest,
    quality,
    write_lines,
    write_reviews,
)

UNREADABLE = "line that cannot be read"


def lines_of(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).split(b"\n")


def unreadable_lines(path):
    """Return the numbers of the lines that Python's own parsers refuse."""
    parse = ast.literal_eval if "amazon_review_2014" in str(path) else json.loads
    found = set()
    for number, line in enumerate(lines_of(path), 1):
        try:
            if line.strip():
                parse(line.decode())
        except (ValueError, SyntaxError):
            found.add(number)
    return found


def quarantined(directory):
    """Return the quarantine's rows."""
    files = Storage().list_files(f"{directory}/quarantine", ".parquet")
    tables = [Storage().read_table(file) for file in files]
    assert all(table.schema.equals(QUARANTINE) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def test_cut_lines_are_put_aside_and_the_rows_are_those_of_a_world_without_them(built, tmp_path, in_process):  # noqa: F811
    world = tmp_path / "world"
    write_raw_world(str(world), WorldSize(num_reviews=2000, malformed_rate=0.05))
    out = build(tmp_path / "out", raw_dir=str(world), held_out_rows=5)
    assert_same_rows(out, built)
    rows = quarantined(out)
    read = [path for path in world.rglob("*.json*") if path.name != "_synthetic.json"]
    # No task of the paper reads files of this category.
    read = [path for path in read if "Cell_Phones" not in path.name]
    expected = {(str(path), number) for path in read for number in unreadable_lines(path)}
    assert len(expected) > 100
    assert {(row["file"], row["line_number"]) for row in rows} == expected
    assert len(rows) == len(expected), "a file that two tasks read is told of once"
    for row in rows[::50]:
        assert row["row"] == lines_of(world / row["file"].removeprefix(f"{world}/"))[row["line_number"] - 1].decode()
        assert row["reason"]
    assert manifest(out)["dropped"][UNREADABLE] == len(expected)
    assert f"({len(expected):,} lines could not be read" in (out / "README.md").read_text()
    told = {row["detail"]: row["value"] for row in quality(out) if row["check"] == UNREADABLE}
    assert told == {str(path): len(unreadable_lines(path)) for path in read if unreadable_lines(path)}


HOSTILE = {
    "amazon_review_2018/review/Electronics.json.gz": [
        b'{"reviewText": "half a pair \\ud83d of surrogates is no text that anybody could write", "overall": 5.0}',
        b'{"reviewText": "caf\xe9 is Latin-1 and none of the ten words of UTF-8 here", "overall": 5.0}',
        b'{"reviewText": 17, "overall": 5.0}',
        b'{"reviewText": "stars are no number in this line of more than ten words", "overall": "5"}',
        b"",
        b"   ",
    ],
    "amazon_review_2018/meta/meta_Electronics.json.gz": [
        b'{"title": "no asin"}',
        b'{"asin": "B0000BAD00", "also_buy": "B000000001"}',
        b"[1, 2]",
        b"",
    ],
    "amazon_review_2018/rating/Electronics.csv": [
        b"B000000001,A1,5.0,1262304000,one field too many",
        b"B000000001,A1,5.0",
        b"B000000001,A1,5.0,yesterday",
        b"B000000001,A1,5.0,99999999999999999999",
        b"B000000001,A\xff,5.0,1262304000",
        b"",
    ],
    "amazon_review_2014/meta/meta_Electronics.json.gz": [
        b"{'asin': open('EXECUTED', 'w').write('x')}",
        b"__import__('os').system('touch EXECUTED')",
        b"[" * 5000 + b"]" * 5000,
        b"{'asin': 9**9**9}",
        b"{'asin': 'A', 'title': '\\ud800'}",
        b"",
    ],
    "amazon_qa/train-qar.jsonl": [b'{"questionText": ["no text"]}', b'{"answers": 1}', b"{", b""],
    "mave/mave_positives.jsonl": [
        b'{"id": "B1", "paragraphs": [], "attributes": [{"key": "Color", "evidences": [{"value": "red", "pid": 0}]}]}',
        b'{"id": "B1", "paragraphs": [{"text": "a"}], "attributes": []}',
        b"",
    ],
}


def test_hostile_and_wrong_lines_of_every_format_change_no_row(world, built, tmp_path, in_process, monkeypatch):  # noqa: F811
    raw = tmp_path / "raw"
    shutil.copytree(world, raw)
    monkeypatch.chdir(tmp_path)
    expected = set()
    for name, bad in HOSTILE.items():
        before = len(lines_of(raw / name)) - 1
        append_lines(raw / name, bad)
        expected |= {(str(raw / name), before + place) for place, line in enumerate(bad, 1) if line.strip()}
    out = build(tmp_path / "out", raw_dir=str(raw), held_out_rows=5)
    assert_same_rows(out, built)
    assert {(row["file"], row["line_number"]) for row in quarantined(out)} == expected
    assert manifest(out)["dropped"][UNREADABLE] == len(expected)
    (evidence,) = [row for row in quarantined(out) if "evidence" in row["reason"]]
    assert evidence["row"].encode() == HOSTILE["mave/mave_positives.jsonl"][0]
    assert list(tmp_path.rglob("EXECUTED")) == []


def reviews(number):
    return [(f"a review of ten words or a few more, number {k}", 5.0, f"B{k}", f"U{k}") for k in range(number)]


SA = {"tasks": ["SA"], "categories": {"SA": {"in_domain": ["Toys", "Games"]}}}


def test_a_file_that_is_cut_off_stops_the_build_and_nothing_is_left_behind(tmp_path, local_ray):
    """Nor does the other category's step, which is at work when this one's fails, write anything afterwards."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_reviews(raw, "Toys", reviews(100_000))
    write_reviews(raw, "Games", reviews(300))
    file = raw / "amazon_review_2018" / "review" / "Games.json.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"Games\.json\.gz is cut off or damaged after line \d+"):
        build(out, raw_dir=str(raw), **SA)
    time.sleep(5)  # more than what the other step has left to do
    assert [path for path in out.rglob("*") if path.is_file()] == []

    write_reviews(raw, "Games", reviews(300))
    fields = {"sizes": {"train": 50, "val": 5, "test": 5}}
    assert manifest(build(out, raw_dir=str(raw), **SA, **fields))["status"] == "complete"


def test_once_a_step_has_failed_no_other_writes_behind_the_back_of_who_tidies_up(tmp_path, local_ray):
    directory = str(tmp_path)

    def wait_or_fail(shard):  # within the test: workers cannot import its module
        begun = Path(directory) / "begun"
        if shard["fails"]:
            while not begun.exists():
                time.sleep(0.01)
            raise InputError("bad file")
        begun.touch()
        time.sleep(2)
        (Path(directory) / "late").touch()
        return {}

    with pytest.raises(InputError, match="bad file"):
        list(run_shards([{"fails": False}, {"fails": True}], wait_or_fail, name="steps"))
    found = {path.name for path in tmp_path.iterdir()}
    time.sleep(4)
    assert {path.name for path in tmp_path.iterdir()} == found


def test_a_file_without_a_readable_line_is_named(tmp_path, local_ray):
    write_reviews(tmp_path, "Toys", reviews(50))
    for lines, message in (([b"nothing"] * 3, "its first 3 lines cannot be read"), ([], "it is empty")):
        write_lines(tmp_path / "amazon_review_2018" / "review" / "Games.json.gz", lines)
        with pytest.raises(InputError, match=rf"Games\.json\.gz: {message}.*Is it the right file\?"):
            build(tmp_path / "out", raw_dir=str(tmp_path), **SA)
    assert not (tmp_path / "out").exists()
