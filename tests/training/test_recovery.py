"""What is a complete checkpoint, on plain directories: any part of one may be in the store when a run is killed."""

import json

import pytest
import torch

from ecellm.config import StorageConfig
from ecellm.errors import InputError
from ecellm.storage import Storage
from ecellm.training import checkpoint
from ecellm.training.checkpoint import Best, TrainingState
from ecellm.training.recovery import LIST_NAME, find_checkpoints, make_ready, order_of, unused_name

STORAGE = Storage()
SHARDS = [checkpoint.shard_name(shard, 2) for shard in range(2)]
FILES = [*SHARDS, "log.parquet", "state.json"]


def write_checkpoint(root, step, *, best=None, name=None):
    """Write a checkpoint in two shards, and the best weights that it names."""
    directory = root / "run" / (name or f"checkpoint-{step:08d}")
    directory.mkdir(parents=True)
    for file in SHARDS:
        checkpoint.save_shard({"weight/a": torch.full((5,), step)}, directory / file)
    if best is not None:
        best_directory = root / "best" / f"step-{best:08d}"
        best_directory.mkdir(parents=True, exist_ok=True)
        [checkpoint.save_shard({"weight/a": torch.ones(5)}, best_directory / file) for file in SHARDS]
        best = Best(best, 0.5, best_directory.name, 2)
    sizes = [(directory / file).stat().st_size for file in SHARDS]
    checkpoint.save_state(TrainingState(step, 1.0, best), [], directory, shard_sizes=sizes)
    return directory


def write_list(root, *names):
    text = json.dumps({"checkpoint_results": [{"version": 0, "checkpoint_dir_name": name} for name in names]})
    (root / "run" / LIST_NAME).write_text(text)
    return root / "run" / LIST_NAME


def complete(root):
    return [own.name for own in find_checkpoints(STORAGE, str(root)).complete]


def names(root):
    return sorted(path.name for path in (root / "run").iterdir() if path.is_dir())


def ready(root, keep=2):
    make_ready(STORAGE, str(root), keep)


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert complete(tmp_path / "nowhere") == []
    ready(tmp_path / "nowhere")


def test_the_newest_is_the_last_attempt_at_the_most_steps(tmp_path):
    for step, name in [(4, "checkpoint-00000004-10"), (4, "checkpoint-00000004-9"), (10, None), (4, None)]:
        write_checkpoint(tmp_path, step, name=name)
    (tmp_path / "run" / "another").mkdir()
    found = find_checkpoints(STORAGE, str(tmp_path)).complete
    endings = ["04", "04-9", "04-10", "10"]
    assert [own.name for own in found] == [f"checkpoint-000000{ending}" for ending in endings]
    assert [own.step for own in found] == [4, 4, 4, 10]
    assert order_of("checkpoint-123456789-2") == (123_456_789, 2)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut off", "empty"])
def test_a_checkpoint_with_any_file_missing_or_cut_off_is_not_complete(tmp_path, file, damage):
    write_checkpoint(tmp_path, 3)
    path = write_checkpoint(tmp_path, 6) / file
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[:-1] if damage == "cut off" else b"")
    found = find_checkpoints(STORAGE, str(tmp_path))
    assert [own.name for own in found.complete] == ["checkpoint-00000003"]
    assert file in found.defects["checkpoint-00000006"]


def test_files_of_another_number_of_workers_do_not_complete_a_checkpoint(tmp_path):
    directory = write_checkpoint(tmp_path, 3)
    (directory / SHARDS[1]).rename(directory / checkpoint.shard_name(1, 3))
    assert complete(tmp_path) == []


def test_a_checkpoint_whose_best_weights_are_not_there_is_not_complete(tmp_path):
    write_checkpoint(tmp_path, 3, best=3)
    write_checkpoint(tmp_path, 6, best=6)
    (tmp_path / "best" / "step-00000006" / SHARDS[1]).unlink()
    (found,) = find_checkpoints(STORAGE, str(tmp_path)).complete
    assert (found.name, found.best.step) == ("checkpoint-00000003", 3)


def test_a_checkpoint_of_another_version_is_not_complete(tmp_path):
    path = write_checkpoint(tmp_path, 3) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    assert "another version" in find_checkpoints(STORAGE, str(tmp_path)).defects["checkpoint-00000003"]


def test_a_directory_is_written_by_one_attempt_only(tmp_path):
    def name():
        return unused_name(find_checkpoints(STORAGE, str(tmp_path)), 3)

    assert name() == "checkpoint-00000003"
    (write_checkpoint(tmp_path, 3) / "state.json").unlink()
    assert name() == "checkpoint-00000003-1"
    write_checkpoint(tmp_path, 3, name="checkpoint-00000003-1")
    assert name() == "checkpoint-00000003-2"


def test_a_list_of_complete_checkpoints_stays_and_so_do_newer_ones_that_it_lacks(tmp_path):
    for step in (3, 6, 9, 12):
        write_checkpoint(tmp_path, step)
    path = write_list(tmp_path, "checkpoint-00000006", "checkpoint-00000009")
    ready(tmp_path)
    assert path.exists()
    assert names(tmp_path) == ["checkpoint-00000006", "checkpoint-00000009", "checkpoint-00000012"]
    assert complete(tmp_path) == names(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"checkpoint_results": [{', "[]", '{"checkpoint_results": null}'])
def test_a_list_that_cannot_be_read_goes_and_checkpoints_stay(tmp_path, text):
    for step in (3, 6):
        write_checkpoint(tmp_path, step)
    write_list(tmp_path).write_text(text)
    ready(tmp_path)
    assert not (tmp_path / "run" / LIST_NAME).exists()
    assert names(tmp_path) == ["checkpoint-00000003", "checkpoint-00000006"]


def test_a_list_that_names_what_is_not_complete_goes_and_so_does_what_it_names(tmp_path, caplog):
    write_checkpoint(tmp_path, 3)
    (write_checkpoint(tmp_path, 6) / SHARDS[1]).unlink()
    path = write_list(tmp_path, "checkpoint-00000003", "checkpoint-00000006")
    ready(tmp_path)
    assert not path.exists()
    assert names(tmp_path) == ["checkpoint-00000003"]
    assert f"checkpoint-00000006, which is not complete: its {SHARDS[1]} is missing. Going on from" in caplog.text


def test_without_a_list_what_was_cut_off_in_the_first_checkpoint_goes(tmp_path):
    (write_checkpoint(tmp_path, 3) / SHARDS[0]).unlink()
    ready(tmp_path)
    assert names(tmp_path) == []
    write_checkpoint(tmp_path, 6)
    write_list(tmp_path)
    ready(tmp_path)
    assert names(tmp_path) == ["checkpoint-00000006"]


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (["checkpoint-00000003"], r"names checkpoint-00000003, which is not complete: its log\.parquet is missing"),
        (["checkpoint-00000009"], "names checkpoint-00000009, which is not complete: it is not there"),
        (None, "cannot be read: the run was killed while it was written"),
    ],
)
def test_a_list_without_any_complete_checkpoint_stops_the_run_and_nothing_is_removed(tmp_path, listed, reason):
    (write_checkpoint(tmp_path, 3) / "log.parquet").unlink()
    path = write_list(tmp_path, *(listed or ()))
    if listed is None:
        path.write_text('{"ray_version": "2.')
    message = rf"{reason}\. No checkpoint is complete: to train from the beginning, remove .*"
    with pytest.raises(InputError, match=message + str(tmp_path)):
        ready(tmp_path)
    assert path.exists()
    assert names(tmp_path) == ["checkpoint-00000003"]


def test_in_an_object_store_a_cut_off_list_and_an_incomplete_checkpoint_go(tmp_path, store, monkeypatch):
    store.log_in(monkeypatch, "recovery-test")
    write_checkpoint(tmp_path, 3, best=3)
    (write_checkpoint(tmp_path, 6, best=3) / SHARDS[0]).unlink()
    write_list(tmp_path).write_text("{")
    storage, root = Storage(StorageConfig(endpoint_url=store.endpoint_url, max_retries=1)), "s3://recovery-test/out/a"
    storage.upload_dir(tmp_path, root)
    found = find_checkpoints(storage, root)
    assert [own.name for own in found.complete] == ["checkpoint-00000003"]
    assert found.defects == {"checkpoint-00000006": f"its {SHARDS[0]} is missing"}
    make_ready(storage, root, 2)
    assert not storage.exists(f"{root}/run/{LIST_NAME}")
    assert find_checkpoints(storage, root).defects == {}
    assert [own.name for own in find_checkpoints(storage, root).complete] == ["checkpoint-00000003"]
