"""What may lie under a path instead of a good file: pipes, devices, directories, links in a circle, odd names."""

import gzip
import json
import os
import socket

import pytest

from ecellm.config import IngestConfig
from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_input
from ecellm.models import read_beside
from ecellm.recipe import load_config
from ecellm.storage import Storage, absolute
from tests.fuzz.outcomes import read_or_be_told
from tests.fuzz.readers import READERS

STORAGE = Storage()
BY_NAME = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)


def _circle(path):
    path.symlink_to(path.name)


def _endless(path):
    path.symlink_to("/dev/zero")


def _socket(path):
    os.chdir(path.parent)  # the path of a socket has room for a hundred characters
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(path.name)


# What is put in a file's place, and what the message says.
IN_ITS_PLACE = {
    "pipe": (os.mkfifo, "a pipe, a socket or a device|does not exist"),
    "device": (_endless, "a pipe, a socket or a device|does not exist"),
    "socket": (_socket, "a pipe, a socket or a device|does not exist"),
    "directory": (os.mkdir, "[Dd]irectory|is empty|does not exist"),
    "links in a circle": (_circle, "symbolic links|Symlink loop|does not exist"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "does not exist"),
}


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
@BY_NAME
def test_no_file_where_one_should_be(reader, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put, told = IN_ITS_PLACE[kind]
    path = tmp_path / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path)
    with pytest.raises(InputError, match=told) as caught:
        reader.read(tmp_path)
    assert path.name in str(caught.value) or str(caught.value).startswith(("/dev/zero", str(tmp_path / "nowhere")))


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "links in a circle"])
def test_nor_for_a_recipe_a_fingerprint_or_what_lies_beside_a_model(kind, tmp_path):
    put, _ = IN_ITS_PLACE[kind]
    path = tmp_path / "file"
    put(path)
    for read in (
        lambda: load_config(IngestConfig, str(path), []),
        lambda: fingerprint_input(STORAGE, absolute(str(path))),
        lambda: STORAGE.read_json(str(path)),
        lambda: STORAGE.read_table(str(path)),
        lambda: STORAGE.sha256(str(path)),
    ):
        with pytest.raises(InputError, match="file"):
            read()
    read_or_be_told(lambda: read_beside(str(tmp_path), "file", None, STORAGE), "file")


NAMES = [
    'it\'s "quoted"',
    "two\nlines",
    "-rf",
    "$(touch EXECUTED)",
    "caf\u00e9 \U0001f600 \u202etxt",
    "a b;c&d|e",
    "%2e%2e",
    "back\\slash",
    "[set]*?",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_files_name_is_a_name_and_nothing_else(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release = next(reader for reader in READERS if reader.name == "release")
    directory = tmp_path / name
    directory.mkdir()
    release.write(directory, release.seeds()[0])
    assert release.read(directory)
    release.write(directory, b"[1, 2")
    with pytest.raises(InputError, match=r"release\.json"):
        release.read(directory)
    assert not list(tmp_path.rglob("EXECUTED"))


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "~nobody-of-this-name/x"])
def test_a_path_that_no_file_has_is_told(path):
    for read in (STORAGE.read_json, STORAGE.read_table, STORAGE.open_read, STORAGE.exists, STORAGE.list_files):
        read_or_be_told(lambda read=read: read(path), "path", "name too long", "does not exist", "usable")


CONTENTS = {
    "nothing": b"",
    "byte order mark": b"\xef\xbb\xbf",
    "UTF-16": "[1]".encode("utf-16"),
    "zeros": bytes(10_000),
    "a zip": b"PK\x03\x04" + bytes(100),
    "Parquet": b"PAR1" + bytes(100) + b"PAR1",
    "a page": b"<!DOCTYPE html><html><body>404</body></html>",
    "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "packed twice": gzip.compress(gzip.compress(b"{}\n")),
}


@pytest.mark.parametrize("content", CONTENTS)
@BY_NAME
def test_a_file_of_another_kind_is_told(reader, content, tmp_path):
    path = reader.write(tmp_path, CONTENTS[content])
    if reader.file.startswith("amazon_google") or reader.name in {"questions", "mave", "metadata-2014"}:
        read_or_be_told(
            lambda: reader.read(tmp_path), path.name, "the Amazon-Google files"
        )  # or no rows: told elsewhere
        return
    with pytest.raises(InputError, match=path.name):
        reader.read(tmp_path)


@pytest.mark.parametrize("name", [reader.name for reader in READERS if reader.file.endswith(".gz")])
def test_members_windows_lines_and_padding_are_read(name, tmp_path):
    reader = next(own for own in READERS if own.name == name)
    content = reader.seeds()[0]
    expected = reader.read(_written(reader, tmp_path / "whole", gzip.compress(content)))
    half = len(content) // 2
    members = gzip.compress(content[:half]) + gzip.compress(b"") + gzip.compress(content[half:]) + bytes(512)
    assert reader.read(_written(reader, tmp_path / "members", members)) == expected or "quarantined" in str(expected)
    windows = gzip.compress(content.replace(b"\n", b"\r\n"))
    assert reader.read(_written(reader, tmp_path / "windows", windows))


def _written(reader, scratch, packed):
    path = reader.write(scratch, b"")
    path.write_bytes(packed)
    return scratch


def test_a_key_that_is_there_twice_has_its_last_value_as_in_pythons_json(tmp_path):
    release = next(reader for reader in READERS if reader.name == "release-lines")
    (line, *_) = release.seeds()[0].splitlines()
    twice = line[:-1] + b', "task": ' + json.dumps(json.loads(line)["task"]).encode() + b"}"
    release.write(tmp_path, twice.replace(b'"task"', b'"task": "none", "task"', 1) + b"\n")
    assert release.read(tmp_path) == 1
