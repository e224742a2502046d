"""MAVE: one pair of files for the whole, or a pair for each split, and nothing in between."""

import json

import pytest

from ecellm.errors import InputError
from ecellm.sources.mave import KINDS, decode_labelled_product, files_by_part
from ecellm.storage import Storage


def fill(tmp_path, *names):
    directory = tmp_path / "mave"
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_bytes(b"{}\n")
    return str(tmp_path)


def test_the_pair_of_the_whole(tmp_path):
    parts = files_by_part(Storage(), fill(tmp_path, "mave_positives.jsonl", "mave_negatives.jsonl.gz", "README.md"))
    assert list(parts) == ["mave"]
    assert list(parts["mave"]) == list(KINDS)


def test_a_pair_for_each_split(tmp_path):
    names = [f"{split}_{kind}.jsonl" for split in ("test", "train", "val") for kind in KINDS]
    parts = files_by_part(Storage(), fill(tmp_path, *names))
    assert list(parts) == ["train", "val", "test"], "in the order of the splits, not of the listing"
    assert parts["val"]["negatives"].endswith("/mave/val_negatives.jsonl")


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("mave_positives.jsonl",),
        ("train_positives.jsonl", "train_negatives.jsonl"),
        ("mave_positives.jsonl", "mave_negatives.jsonl", "train_positives.jsonl", "train_negatives.jsonl"),
    ],
)
def test_anything_else_is_refused_with_what_is_there(tmp_path, names):
    with pytest.raises(
        InputError, match=rf"mave must hold mave_positives.*it has {min(names) if names else 'nothing'}"
    ):
        files_by_part(Storage(), fill(tmp_path, *names))


def test_a_labelled_product():
    line = (
        b'{"id": "B1", "category": "Shoes", "paragraphs": [{"text": "red shoe", "source": "title", "x": 1}], '
        b'"attributes": [{"key": "Color", "evidences": [{"value": "red", "pid": 0, "begin": 0, "end": 3}]}, {"key": "Size"}]}'
    )
    product = decode_labelled_product(line)
    assert [(own.text, own.source) for own in product.paragraphs] == [("red shoe", "title")]
    assert [(own.key, [(e.value, e.pid) for e in own.evidences]) for own in product.attributes] == [
        ("Color", [("red", 0)]),
        ("Size", []),
    ]


@pytest.mark.parametrize(
    "line", [b'{"attributes": []}', b'{"paragraphs": "x", "attributes": []}', b'{"paragraphs": []}']
)
def test_a_line_without_texts_or_attributes_is_refused(line):
    with pytest.raises(ValueError, match=r"paragraphs|attributes|Expected"):
        decode_labelled_product(line)


@pytest.mark.parametrize("place", [-1, 1, 99])
def test_evidence_in_a_paragraph_that_is_not_there_is_refused(place):
    attributes = [{"key": "Color", "evidences": [{"value": "red", "pid": place}]}]
    line = json.dumps({"paragraphs": [{"text": "red", "source": "title"}], "attributes": attributes}).encode()
    with pytest.raises(ValueError, match=f"'Color': evidence in paragraph {place} of 1"):
        decode_labelled_product(line)
