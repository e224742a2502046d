"""Storage on a real S3 server: the same promises as on local disk, and clear refusals."""

import pyarrow as pa
import pytest

from ecellm.config import StorageConfig
from ecellm.errors import InputError, OutputHeldError
from ecellm.fingerprint import fingerprint_of
from ecellm.manifest import OutputState, RunDirectory, read_state
from ecellm.storage import Storage

IDENTITY = {"job": "build", "stage_version": 1, "inputs": {}, "config": {"seed": 1}}
OTHER = {**IDENTITY, "config": {"seed": 2}}


@pytest.fixture
def storage(store, monkeypatch):
    store.log_in(monkeypatch, "storage-test")
    return Storage(StorageConfig(endpoint_url=store.endpoint_url, max_retries=1))


def test_tables_and_trees_come_back(storage, tmp_path):
    root = "s3://storage-test/tree"
    table = pa.table({"x": list(range(1000))})
    for name in ("a/part-00000.parquet", "a/b/part-00001.parquet"):
        storage.write_table(f"{root}/{name}", table, row_group_size=100)
    assert storage.list_files(root, ".parquet") == [f"{root}/a/b/part-00001.parquet", f"{root}/a/part-00000.parquet"]
    assert storage.read_table(f"{root}/a/part-00000.parquet") == table
    storage.download_dir(root, tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    storage.upload_dir(tmp_path, "s3://storage-test/copy")
    assert storage.digest("s3://storage-test/copy/a/part-00000.parquet") == storage.digest(
        f"{root}/a/part-00000.parquet"
    )
    storage.remove(root)
    assert not storage.exists(root)
    assert storage.list_files(root) == []


def test_a_failed_write_publishes_nothing(storage):
    with pytest.raises(RuntimeError), storage.staged_file("s3://storage-test/half.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not storage.exists("s3://storage-test/half.txt")


def test_a_directory_is_held_by_one(storage):
    out = "s3://storage-test/held"
    with RunDirectory.claim(storage, out, IDENTITY, overwrite=False), pytest.raises(OutputHeldError):
        RunDirectory.claim(storage, out, IDENTITY, overwrite=False)
    storage.write_bytes(f"{out}/data/x", b"1")
    with pytest.raises(InputError, match=r"config\.seed: 1 there, 2 now"):
        RunDirectory.claim(storage, out, OTHER, overwrite=False)
    with RunDirectory.claim(storage, out, OTHER, overwrite=True):
        assert storage.list_files(f"{out}/data") == []
    assert read_state(storage, out, fingerprint_of(OTHER)) == OutputState.RESUMABLE


def test_exclusive_creation_happens_once(storage):
    assert storage.create_exclusively("s3://storage-test/lock", b"1")
    assert not storage.create_exclusively("s3://storage-test/lock", b"2")
    assert storage.read_bytes("s3://storage-test/lock") == b"1"


def test_wrong_credentials_are_told_without_the_secret(store, storage, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    refused = Storage(StorageConfig(endpoint_url=store.endpoint_url, max_retries=0))
    with pytest.raises(InputError, match="no access to s3://storage-test/x.*Check the credentials") as caught:
        refused.check_access("s3://storage-test/x")
    assert "not-the-secret" not in str(caught.value)


def test_wrong_endpoint_and_missing_bucket_are_told(store, storage):
    nowhere = Storage(StorageConfig(endpoint_url="http://127.0.0.1:9", max_retries=0))
    with pytest.raises(InputError, match="cannot reach s3://storage-test/x at http://127.0.0.1:9"):
        nowhere.check_access("s3://storage-test/x")
    with pytest.raises(InputError, match="bucket 'no-such-bucket' .* does not exist"):
        storage.check_access("s3://no-such-bucket/x")
    with pytest.raises(InputError, match="s3://storage-test/none.json does not exist"):
        storage.read_json("s3://storage-test/none.json")
