import pytest
from conftest import example_rows, write_rows

from ecellm.errors import InputError
from ecellm.storage import Storage
from ecellm.training.rows import RowReader, read_index


def ids(batches):
    return [[row.sample_id for row in batch] for batch in batches]


def test_an_epoch_reads_every_row_once(rows_dir):
    reader = RowReader(Storage(), str(rows_dir), "train")
    batches = list(reader.epoch(seed=1, epoch=0, global_batch_size=16))
    assert [len(batch) for batch in batches] == [16, 16, 16, 2]
    rows = {row.sample_id: row for batch in batches for row in batch}
    expected = example_rows(50)
    assert len(rows) == 50
    for row in expected:
        assert rows[row["sample_id"]].input_ids.tolist() == row["input_ids"]
        assert rows[row["sample_id"]].position == row["position"]


def test_going_on_in_the_middle_gives_the_rest_of_the_epoch(rows_dir, monkeypatch):
    from ecellm.training import order

    monkeypatch.setattr(order.epoch_windows, "__kwdefaults__", {"window_rows": 10})
    reader = RowReader(Storage(), str(rows_dir), "train")
    whole = ids(reader.epoch(seed=1, epoch=2, global_batch_size=6))
    for first in range(len(whole) + 1):
        assert ids(reader.epoch(seed=1, epoch=2, global_batch_size=6, first_batch=first)) == whole[first:]


def test_sequence_to_sequence_rows_keep_their_labels(seq2seq_rows_dir):
    reader = RowReader(Storage(), str(seq2seq_rows_dir), "train")
    rows = [row for batch in reader.in_order(7) for row in batch]
    assert [row.labels.tolist() for row in rows] == [row["labels"] for row in example_rows(30, seq2seq=True)]


def test_a_missing_split_has_no_rows(tmp_path):
    write_rows(tmp_path, {"train": example_rows(3)})
    assert read_index(Storage(), str(tmp_path), "val") == ()


def test_rows_without_their_index_are_refused(tmp_path):
    write_rows(tmp_path, {"train": example_rows(3)})
    (tmp_path / "data" / "split=train" / "_index.parquet").unlink()
    with pytest.raises(InputError, match="Run preprocess again"):
        read_index(Storage(), str(tmp_path), "train")
