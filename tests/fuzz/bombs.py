"""Input that is small and becomes large, read in a process of its own whose memory is measured.

    python -m tests.fuzz.bombs NAME     one JSON line: what the reader said, MiB before it read, MiB at the peak

A bomb is written as a stream: no more than a MiB of it is in memory, and no more than it must be on the disk.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.fuzz.outcomes import scratch_directory
from tests.peak_memory import peak_bytes

MIB = 1 << 20
GIB = 1 << 30


def write_packed(path, piece, number, before=b"", after=b""):
    """Write `before`, so many pieces and `after` as gzip: a member each, so that a piece is packed once."""
    member = gzip.compress(piece, mtime=0)
    with Path(path).open("wb") as file:
        file.write(gzip.compress(before, mtime=0))
        file.writelines(member for _ in range(number))
        file.write(gzip.compress(after, mtime=0))


def write_holes(path, num_bytes, before=b""):
    """Write a file of NUL bytes that takes no room on the disk."""
    with Path(path).open("wb") as file:
        file.write(before)
        file.truncate(num_bytes)


def _ingest(name):
    def read(scratch):
        from tests.fuzz.readers import ingest

        return ingest(name)(scratch)

    return read


def _reader(name):
    def read(scratch):
        from tests.fuzz.readers import READERS

        return next(own for own in READERS if own.name == name).read(scratch)

    return read


def _json_file(scratch):
    from ecellm.dataset.qpr_labels import read_qpr_labels
    from ecellm.storage import Storage

    return read_qpr_labels(Storage(), str(scratch / "labels.json"))


def _recipe(scratch):
    from ecellm.config import IngestConfig
    from ecellm.recipe import load_config

    return load_config(IngestConfig, str(scratch / "recipe.yaml"), [])


def _catalogue(scratch):
    from ecellm.dataset.instructions import read_catalogue
    from ecellm.storage import Storage

    return read_catalogue(Storage(), str(scratch / "instructions.json"))


def _in_place(file, write, *arguments, **more):
    def put(scratch):
        path = scratch / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, *arguments, **more)

    return put


REVIEWS = "amazon_review_2018/review/Electronics.json.gz"
OLD_META = "amazon_review_2014/meta/meta_Electronics.json.gz"
REVIEW = (
    b'{"reviewText": "a review of ten words or a few more than that", "overall": 5.0, "asin": "A", "reviewerID": "B"}\n'
)
# By name: how it is written, and how it is read.
BOMBS = {
    "release of 1 GiB of zeros": (_in_place("release.json.gz", write_packed, bytes(MIB), 1024), _ingest("release.json.gz")),
    "release of 1 GiB of spaces": (_in_place("release.json.gz", write_packed, b" " * MIB, 1024), _ingest("release.json.gz")),
    "release with a text of 1 GiB": (_in_place("release.json.gz", write_packed, b"x" * MIB, 1024, b'[{"input": "'), _ingest("release.json.gz")),
    "release with a row of many lists": (_in_place("release.json.gz", write_packed, b"[]," * (MIB // 3), 1024, b'[{"input": ['), _ingest("release.json.gz")),
    "release with a row of many accents": (_in_place("release.json.gz", write_packed, "\U0001f600".encode() * (MIB // 4), 1024, b'[{"input": "'), _ingest("release.json.gz")),
    "release 100,000 levels deep": (_in_place("release.json.gz", write_packed, b"[" * 100_000, 1), _ingest("release.json.gz")),
    "release lines of 1 GiB of zeros": (_in_place("release.jsonl.gz", write_packed, bytes(MIB), 1024), _ingest("release.jsonl.gz")),
    "release line of many lists": (_in_place("release.jsonl.gz", write_packed, b"[]," * (MIB // 3), 60, b"[", b"[]]\n"), _ingest("release.jsonl.gz")),
    "line of 1 GiB that is no file": (_in_place("release.jsonl", write_holes, GIB), _ingest("release.jsonl")),
    "release of 1 GiB of blank lines": (_in_place("release.jsonl.gz", write_packed, b"\n" * MIB, 64), _ingest("release.jsonl.gz")),
    "reviews with a line of 1 GiB": (_in_place(REVIEWS, write_packed, bytes(MIB), 1024, REVIEW), _reader("reviews")),
    "reviews with a line of many texts": (
        _in_place(REVIEWS, write_packed, b'"a",' * (MIB // 4), 60, REVIEW + b'{"x": [', b'""]}\n' + REVIEW), _reader("reviews")),
    "metadata with a line of many lists": (
        _in_place("amazon_review_2018/meta/meta_Electronics.json.gz", write_packed, b'"a",' * (MIB // 4), 60,
                  b'{"asin": "A"}\n{"asin": "B", "also_buy": [', b'""]}\n'), _reader("metadata")),
    "old metadata with a deep literal": (
        _in_place(OLD_META, write_packed, b"[" * MIB, 60, b"{'asin': 'A'}\n{'asin': ", b"\n"), _reader("metadata-2014")),
    "old metadata with a wide literal": (
        _in_place(OLD_META, write_packed, b"[]," * 600_000, 1, b"{'asin': 'A'}\n{'asin': 'B', 'x': [None,", b"]}\n"), _reader("metadata-2014")),
    "ratings of 1 GiB of zeros": (_in_place("amazon_review_2018/rating/Electronics.csv", write_holes, GIB, b"A,B,5.0,1\n"), _reader("ratings")),
    "labels of 1 GiB": (_in_place("labels.json", write_holes, GIB), _json_file),
    "labels 100,000 levels deep": (_in_place("labels.json", lambda path: path.write_bytes(b"[" * 100_000)), _json_file),
    "labels of many lists": (_in_place("labels.json", lambda path: path.write_bytes(b"[" + b"[]," * (20 * MIB) + b"[]]")), _json_file),
    "catalogue of a million wordings": (
        _in_place("instructions.json", lambda path: path.write_text(json.dumps(
            {"tasks": {"PM": {"seed": "s", "unseen": "u", "diverse": [str(k) for k in range(1_000_000)]}}}))), _catalogue),
    "table of 1 GiB": (_in_place("amazon_google/Amazon.csv", write_holes, GIB, b"id,title\n"), _reader("amazon-google-0")),
    "recipe of billions of laughs": (_in_place("recipe.yaml", lambda path: path.write_text(_laughs())), _recipe),
    "recipe of 1 GiB": (_in_place("recipe.yaml", write_holes, GIB), _recipe),
}  # fmt: skip


def _laughs():
    lines = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 30)]
    return "\n".join(["a0: &a0 [x]", *lines])


def explode(name):
    """Write a bomb and read it here; return what was said and the memory that it took."""
    from ecellm.errors import InputError

    put, read = BOMBS[name]
    with scratch_directory() as scratch:
        put(scratch)
        before = peak_bytes() / 2**20
        try:
            told = f"read: {str(read(scratch))[:100]}"
        except InputError as error:
            told = f"told: {error}"
        return {"told": told, "before": before, "peak": peak_bytes() / 2**20, "name": str(scratch)}


def explode_elsewhere(name):
    """Do the same in a process of its own; raise if it ends otherwise than by itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fuzz.bombs", name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(explode(sys.argv[1])) + "\n")
