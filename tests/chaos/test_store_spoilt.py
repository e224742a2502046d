"""An object store that says "slow down", is slow, and cuts connections: everything arrives, once and whole."""

import pyarrow as pa
import pytest

from ecellm.config import StorageConfig
from ecellm.errors import SurroundingsError
from ecellm.storage import Storage
from tests.chaos.faults_chain import JOBS, last_line, run_job, words_of
from tests.chaos.faults_proxy import Spoiler, running_proxy
from tests.same_output import assert_same_output

SHARES = {"slow_down": 0.15, "delay": 0.1, "cut_request": 0.05, "cut_response": 0.1}


@pytest.fixture
def bucket(store, monkeypatch):
    """A bucket on the real server, logged in."""
    return store.log_in(monkeypatch, "spoilt-test")


def spoiler_of(store, shares=None, **options):
    return Spoiler(int(store.endpoint_url.rpartition(":")[2]), SHARES if shares is None else shares, **options)


def test_tables_arrive_whole(store, bucket, tmp_path):
    tables = [pa.table({"x": [f"{number}-{row * 7919 % 10007}" for row in range(3000)]}) for number in range(25)]
    spoiler, plain = spoiler_of(store, seconds=0.1), Storage()
    with running_proxy(spoiler) as address:
        storage = Storage(StorageConfig(endpoint_url=address))
        for number, table in enumerate(tables):
            storage.write_table(f"s3://spoilt-test/tables/{number:02d}.parquet", table)
        paths = storage.list_files("s3://spoilt-test/tables", ".parquet")
        assert [storage.read_table(path) for path in paths] == tables
        storage.download_dir("s3://spoilt-test/tables", tmp_path)
    assert [plain.read_table(str(copy)) for copy in sorted(tmp_path.glob("*.parquet"))] == tables
    assert all(spoiler.seen[fault] for fault in SHARES), spoiler.seen


@pytest.mark.chaos
def test_an_exclusive_creation_whose_answer_is_lost_is_still_ours(store, bucket):
    from ecellm.manifest import RunDirectory

    identity = {"job": "build", "stage_version": 1, "inputs": {}, "config": {"seed": 1}}
    spoiler = spoiler_of(store, {"cut_response": 0.3, "slow_down": 0.2}, seed=3)
    with running_proxy(spoiler) as address:
        storage = Storage(StorageConfig(endpoint_url=address))
        for number in range(3):
            with RunDirectory.claim(storage, f"s3://spoilt-test/claim-{number}", identity, overwrite=False):
                pass
    assert spoiler.seen["cut_response"]


def test_a_store_that_only_says_slow_down_ends_in_one_message(store, bucket):
    with running_proxy(spoiler_of(store, {"slow_down": 1.0})) as address:
        storage = Storage(StorageConfig(endpoint_url=address, max_retries=1))
        with pytest.raises(
            SurroundingsError, match=r"cannot reach s3://spoilt-test/x at http://127.*same command goes on"
        ):
            storage.read_bytes("s3://spoilt-test/x")


@pytest.mark.chaos
@pytest.mark.timeout(1800)  # a third of all requests are asked again, after ever longer pauses
def test_a_whole_chain_on_a_spoilt_store_gives_what_an_undisturbed_one_gives(store, bucket, chain, tmp_path):
    root = "s3://spoilt-test/chain"
    bucket.put(str(chain / "release.jsonl"), "spoilt-test/chain/release.jsonl")
    bucket.put(str(chain / "model"), "spoilt-test/chain/model", recursive=True)
    spoiler = spoiler_of(store)
    with running_proxy(spoiler) as address:
        for job in JOBS:
            words = [*words_of(job, root), f"storage.endpoint_url={address}", "ray.num_cpus=4"]
            code, output = run_job(job, words, store.environment)
            assert (code, last_line(output)) == (0, "ecellm: exit=0 reason=done"), output[-4000:]
    bucket.get("spoilt-test/chain", str(tmp_path / "chain"), recursive=True)
    for job in JOBS:
        assert_same_output(tmp_path / "chain" / job, chain / job)
    assert all(spoiler.seen[fault] >= 3 for fault in SHARES), spoiler.seen
