"""Lines as typed records: what is none goes to the quarantine with file and line, and is counted."""

import json

import pytest

from ecellm.errors import InputError
from ecellm.schema import QUARANTINE
from ecellm.sources.amazon_reviews import Product, Review
from ecellm.sources.records import Quarantine, RecordDecoder, iter_records, look_at_records
from ecellm.storage import Storage

GOOD = b'{"asin": "A1", "overall": 5.0, "reviewText": "fine", "style": {"x": [1, 2]}}'
BAD_LINES = {
    "cut JSON": GOOD[:30],
    "wrong type": b'{"asin": "A1", "overall": "five"}',
    "text that is a number": b'{"asin": 7}',
    "NaN for a text": b'{"reviewText": NaN}',
    "lone surrogate": b'{"reviewText": "half \\ud83d"}',
    "lone surrogate, other half": b'{"reviewText": "half \\ude00 pair"}',
    "invalid UTF-8": b'{"reviewText": "caf\xe9 \xff\xfe"}',
    "surrogate in UTF-8": b'{"reviewText": "\xed\xa0\x80"}',
    "no object": b'["A1", 5.0]',
    "a number": b"17",
    "two objects": GOOD + GOOD,
    "Python, not JSON": b"{'asin': 'A1'}",
    "NUL": b"\0",
}


def write_lines(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def read(tmp_path, lines, record_type=Review, **limits):
    """Read lines as records; return them with the quarantine's rows."""
    path = write_lines(tmp_path / "file.jsonl", lines)
    quarantine = Quarantine(Storage(), str(tmp_path / "quarantine"), path)
    records = list(iter_records(Storage(), path, RecordDecoder(record_type), quarantine, **limits))
    files = Storage().list_files(str(tmp_path / "quarantine"))
    rows = [row for file in files for row in Storage().read_table(file).to_pylist()]
    assert quarantine.num_rows == len(rows), "what is counted is what is written"
    return records, rows


def test_only_the_fields_that_are_named_are_read(tmp_path):
    ((number, record),), bad = read(tmp_path, [GOOD])
    assert (number, record.asin, record.overall, record.reviewText, record.reviewerID) == (1, "A1", 5.0, "fine", None)
    assert bad == []


@pytest.mark.parametrize("line", [b'{"asin": null, "overall": NaN}', b'{"asin": "A", "rank": NaN, "x": Infinity}'])
def test_bare_nan_as_upstream_writes_it_is_no_reason_to_refuse_a_line(tmp_path, line):
    records, bad = read(tmp_path, [line])
    assert len(records) == 1
    assert bad == []


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_put_aside_with_file_and_line_and_its_neighbours_stay(tmp_path, name):
    records, (bad,) = read(tmp_path, [GOOD, b"", BAD_LINES[name], GOOD])
    assert [number for number, _ in records] == [1, 4]
    assert (bad["line_number"], bad["row_number"]) == (3, 2)
    assert bad["file"] == str(tmp_path / "file.jsonl")
    assert bad["reason"]
    assert bad["row"] == BAD_LINES[name].decode("utf-8", errors="replace")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_in_a_field_that_nobody_reads_is_refused_or_skipped_never_a_crash(tmp_path, opening):
    closing = b"]" if opening == b"[" else b"}"
    line = b'{"asin": "A1", "x": ' + opening * 200_000 + b"1" + closing * 200_000 + b"}"
    records, bad = read(tmp_path, [line, GOOD])
    assert [number for number, _ in records][-1] == 2
    assert len(records) + len(bad) == 2


def test_huge_numbers_do_no_harm(tmp_path):
    lines = [b'{"asin": "A1", "vote": ' + b"9" * 100_000 + b"}", b'{"asin": "A1", "overall": 1e999}', GOOD]
    records, bad = read(tmp_path, lines)
    assert [number for number, _ in records][-1] == 3
    assert len(records) + len(bad) == 3


def test_blank_lines_are_neither_records_nor_bad(tmp_path):
    records, bad = read(tmp_path, [b"", GOOD, b"   ", b"\r", GOOD])
    assert [number for number, _ in records] == [2, 5]
    assert bad == []


def test_the_quarantine_has_the_declared_columns_and_is_the_same_when_written_again(tmp_path):
    lines = [b"{bad %d" % number for number in range(2500)]
    for _ in range(2):
        _, bad = read(tmp_path, [GOOD, *lines])
        assert [row["line_number"] for row in bad] == list(range(2, 2502))
    files = Storage().list_files(str(tmp_path / "quarantine"))
    assert len(files) == 3
    assert Storage().read_table(files[0]).schema.equals(QUARANTINE)


def test_a_long_bad_line_is_kept_in_part(tmp_path):
    _, (bad,) = read(tmp_path, [GOOD, b"x" * 50_000])
    assert bad["row"] == "x" * 10_000


def test_lines_behind_the_limit_are_not_looked_at(tmp_path):
    records, bad = read(tmp_path, [GOOD, b"{bad", GOOD, b"{bad", GOOD], max_lines=3)
    assert [number for number, _ in records] == [1, 3]
    assert len(bad) == 1


def test_a_file_without_a_readable_line_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"file\.jsonl: none of its 2 lines can be read; is it the right file\?"):
        read(tmp_path, [b"{bad", b"", b"worse"])


def test_the_look_before_the_work(tmp_path):
    decode = RecordDecoder(Product)
    look_at_records(Storage(), write_lines(tmp_path / "good", [b"{bad", b"", b'{"asin": "A"}']), decode)
    for name, lines, message in (
        ("empty", [], r"empty: it is empty"),
        ("csv", [b"asin,title"] * 500, r"csv: its first 100 lines cannot be read, the last because: .*right file"),
        ("few", [b'{"title": "no asin"}'], r"few: its first 1 lines cannot be read.*asin"),
    ):
        with pytest.raises(InputError, match=message):
            look_at_records(Storage(), write_lines(tmp_path / name, lines), decode)


def test_a_decoded_record_equals_what_json_says(tmp_path):
    product = {"asin": "B1", "title": 'quotes " and \\ and ünïcode 😀', "category": ["a", "b"], "also_buy": ["B2"]}
    ((_, record),), _ = read(tmp_path, [json.dumps(product).encode()], Product)
    assert {name: getattr(record, name) for name in product} == product
