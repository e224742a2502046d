"""Lines of raw files: numbered from 1, in bounded memory, and a damaged file is named with its line."""

import gzip

import pytest

from ecellm.errors import InputError
from ecellm.sources import lines
from ecellm.sources.lines import numbered_lines, open_lines
from ecellm.storage import Storage

LINES = [f"line {number}, some text that compresses badly {number * 7919 % 1009}\n".encode() for number in range(2000)]


def read(path):
    with open_lines(Storage(), str(path)) as handle:
        return list(numbered_lines(handle, str(path)))


def test_plain_and_gzip_give_the_same_lines_blank_ones_too(tmp_path):
    content = b"a\n\nb \r\n" + b"".join(LINES) + b"no end"
    (tmp_path / "plain.jsonl").write_bytes(content)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(content))
    expected = [b"a\n", b"\n", b"b \r\n", *LINES, b"no end"]
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        assert read(tmp_path / name) == list(enumerate(expected, 1))


def test_gzip_members_one_after_the_other_are_one_file(tmp_path):
    (tmp_path / "two.gz").write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\nd\n"))
    assert [line for _, line in read(tmp_path / "two.gz")] == [b"a\n", b"bc\n", b"d\n"]


def test_a_cut_off_gzip_is_named_with_the_last_line_that_could_be_read(tmp_path):
    whole = gzip.compress(b"".join(LINES), mtime=0)
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    found = []
    with (
        pytest.raises(InputError, match=r"cut\.json\.gz is cut off or damaged after line (\d+)") as caught,
        open_lines(Storage(), str(cut)) as handle,
    ):
        found.extend(line for _, line in numbered_lines(handle, str(cut)))
    named = int(str(caught.value).split("after line ")[1].split(":")[0])
    assert named == len(found)
    assert found == LINES[: len(found)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad-magic", b"this is no gzip at all\n" * 50),
        ("bad-data", gzip.compress(b"".join(LINES), mtime=0)[:200] + b"\xff" * 3000),
        ("bad-checksum", gzip.compress(b"".join(LINES), mtime=0)[:-8] + b"\0" * 8),
        ("garbage-behind", gzip.compress(b"a\n") + b"garbage"),
    ],
)
def test_a_damaged_gzip_is_bad_input_not_a_crash(tmp_path, name, content):
    (tmp_path / f"{name}.gz").write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}\.gz is cut off or damaged after line \d+"):
        read(tmp_path / f"{name}.gz")


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    (tmp_path / "long.jsonl").write_bytes(b"short\n" + b"x" * 5000)
    with pytest.raises(InputError, match=r"long\.jsonl: line 2 is longer than"):
        read(tmp_path / "long.jsonl")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl does not exist"):
        read(tmp_path / "none.jsonl")
