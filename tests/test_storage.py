"""Storage on local disk: nothing half-written, clear messages."""

import pyarrow as pa
import pytest

from ecellm.errors import InputError
from ecellm.storage import Storage, absolute

storage = Storage()


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.parquet"
    storage.write_table(str(path), pa.table({"x": [1]}))
    with pytest.raises(RuntimeError), storage.staged_file(str(path)) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert storage.read_table(str(path)).to_pydict() == {"x": [1]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_exclusive_creation_happens_once(tmp_path):
    path = str(tmp_path / "lock")
    assert storage.create_exclusively(path, b"1")
    assert not storage.create_exclusively(path, b"2")
    assert storage.read_bytes(path) == b"1"


def test_a_missing_file_and_a_file_of_another_kind_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.json does not exist"):
        storage.read_json(str(tmp_path / "nowhere.json"))
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        storage.read_json(str(tmp_path / "x.json"))
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        storage.read_table(str(tmp_path / "x.parquet"))


def test_listing_is_sorted_and_recursive(tmp_path):
    for name in ("b/2.parquet", "a/9.parquet", "b/1.txt", "b/.3.parquet"):
        storage.write_bytes(str(tmp_path / name), b"")
    found = storage.list_files(str(tmp_path), ".parquet")
    assert [path.removeprefix(str(tmp_path)) for path in found] == ["/a/9.parquet", "/b/2.parquet"]
    assert storage.list_files(str(tmp_path / "none")) == []


def test_paths_are_made_absolute_and_urls_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("x/../y") == str(tmp_path / "y")
    assert absolute("s3://bucket/x/") == "s3://bucket/x"
