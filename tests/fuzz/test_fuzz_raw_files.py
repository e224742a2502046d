"""Every reader of raw files, with damaged files: rows in the schema of the next step, a quarantine, or one message."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import changed_json, damaged_bytes
from tests.fuzz.outcomes import fuzzed, read_or_be_told, scratch_directory
from tests.fuzz.readers import READERS

BY_NAME = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
JSON_READERS = [reader for reader in READERS if reader.is_json]


def read_content(reader, content):
    """Let a reader read a content; return what it made of it."""
    with scratch_directory() as scratch:
        path = reader.write(scratch, content)
        return read_or_be_told(lambda: reader.read(scratch), path, path.name, "the Amazon-Google files")


@BY_NAME
@fuzzed()
@given(data=st.data())
def test_damaged_bytes(reader, data):
    read_content(reader, data.draw(damaged_bytes(reader.seeds())))


@pytest.mark.parametrize("reader", JSON_READERS, ids=lambda reader: reader.name)
@fuzzed()
@given(data=st.data())
def test_valid_json_with_hostile_values(reader, data):
    if reader.has_lines or reader.file.removesuffix(".gz").endswith(".jsonl"):
        lines = data.draw(st.sampled_from(reader.seeds())).splitlines()
        hostile = data.draw(changed_json([json.loads(line) for line in lines]))
        content = b"\n".join([*lines, hostile, lines[0]]) + b"\n"
    else:
        content = data.draw(changed_json([json.loads(seed) for seed in reader.seeds()]))
    result = read_content(reader, content)
    if reader.has_lines:
        assert result is not None, "one bad line must not stop the others"


@pytest.mark.parametrize("reader", [own for own in READERS if own.file.endswith(".gz")], ids=lambda reader: reader.name)
@fuzzed()
@given(data=st.data())
def test_damaged_compression(reader, data):
    with scratch_directory() as scratch:
        path = reader.write(scratch, data.draw(st.sampled_from(reader.seeds())))
        path.write_bytes(data.draw(damaged_bytes([path.read_bytes()])))
        read_or_be_told(lambda: reader.read(scratch), path, path.name)


@BY_NAME
def test_the_seeds_are_read(reader):
    """Else nothing is shown: what is drawn begins with them."""
    for seed in reader.seeds():
        assert read_content(reader, seed)
