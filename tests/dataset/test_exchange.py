"""The exchange: rows come back by bucket, whatever the number of writers and files."""

import numpy as np
import pyarrow as pa
import pytest

from ecellm.dataset.builders import exchange
from ecellm.dataset.builders.exchange import ExchangeWriter, buckets_of_keys, buckets_of_ranks, num_buckets, read_bucket
from ecellm.dataset.hashing import spread
from ecellm.storage import Storage

PAIRS = pa.schema([("key", pa.string()), ("number", pa.int64())])


def test_rows_come_back_by_bucket_whatever_the_number_of_flushes(tmp_path, monkeypatch):
    expected = {}
    for name, flush_bytes in (("many", 200), ("one", 1 << 20)):
        monkeypatch.setattr(exchange, "_FLUSH_BYTES", flush_bytes)
        directory = str(tmp_path / name)
        for writer_name in ("a", "b"):
            with ExchangeWriter(Storage(), directory, writer_name, PAIRS, 5) as writer:
                for batch in range(6):
                    keys = [f"{writer_name} {batch} {row} é" for row in range(batch * 3)]
                    table = pa.table([keys, list(range(len(keys)))], schema=PAIRS)
                    buckets = buckets_of_keys(table["key"], 4)  # none in the last one
                    for bucket, key in zip(buckets.tolist(), keys, strict=True):
                        expected.setdefault(bucket, {})[key] = None
                    writer.add(table, buckets)
                assert writer.num_rows == 45
        files = Storage().list_files(directory, ".parquet")
        assert (len(files) > 4) if name == "many" else (len(files) == 2)
        for bucket in range(5):
            table = read_bucket(Storage(), directory, bucket, PAIRS)
            assert table["key"].to_pylist() == list(expected.get(bucket, {}))  # each writer's rows in their order
            assert table.schema == PAIRS
            assert read_bucket(Storage(), directory, bucket, PAIRS, ["number"]).column_names == ["number"]


def test_a_writer_that_fails_or_has_nothing_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), ExchangeWriter(Storage(), str(tmp_path / "x"), "a", PAIRS, 2) as writer:
        writer.add(pa.table([["a"], [1]], schema=PAIRS), np.zeros(1, np.int64))
        raise RuntimeError
    with ExchangeWriter(Storage(), str(tmp_path / "x"), "b", PAIRS, 2) as writer:
        writer.add(PAIRS.empty_table(), np.zeros(0, np.int64))
    assert Storage().list_files(str(tmp_path / "x")) == []
    assert read_bucket(Storage(), str(tmp_path / "x"), 0, PAIRS).num_rows == 0


def test_buckets_of_ranks_cut_the_range_into_equal_parts_in_order():
    ranks = np.sort(
        np.concatenate([spread(np.arange(3000, dtype=np.uint64)), np.array([0, 2**63, 2**64 - 1], np.uint64)])
    )
    for number in (1, 2, 3, 7, 1024):
        buckets = buckets_of_ranks(ranks, number)
        assert buckets[0] == 0
        assert buckets[-1] == number - 1
        assert (np.diff(buckets) >= 0).all()
        assert [int(rank) * number >> 64 for rank in ranks.tolist()] == buckets.tolist()


def test_the_number_of_buckets_follows_from_bytes():
    sizes = [0, 1, 100, 101, 10**9]
    assert [num_buckets(size, 100) for size in sizes] == [1, 1, 1, 2, 1024]
