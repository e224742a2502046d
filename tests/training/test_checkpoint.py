import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecellm.errors import InputError
from ecellm.training import checkpoint
from ecellm.training.checkpoint import Best, TrainingState, label

STATE = TrainingState(7, 12.5, Best(4, 1.25, "step-00000004", 2), is_stopped=True)
ROW = {"step": 1, "epoch": 0.5, "kind": "train", "loss": 2.0, "learning_rate": 0.1, "seconds": 3.0}


def write(directory, num_shards):
    """Write a checkpoint in so many shards; return its tensors."""
    values = {f"a.lora_{k}": torch.randn(3, k + 1) for k in range(5)}
    shard_of = checkpoint.owners({name: value.numel() for name, value in values.items()}, num_shards)
    shards = [{} for _ in range(num_shards)]
    for name, value in values.items():
        for key in (checkpoint.WEIGHT, "exp_avg", "exp_avg_sq"):
            shards[shard_of[name]][label(name, key)] = value.clone()
    paths = [directory / checkpoint.shard_name(number, num_shards) for number in range(num_shards)]
    for tensors, path in zip(shards, paths, strict=True):
        checkpoint.save_shard(tensors, path)
    checkpoint.save_state(STATE, [ROW], directory, shard_sizes=[path.stat().st_size for path in paths])
    return values


@pytest.mark.parametrize("num_shards", [1, 2, 7])
def test_round_trip(tmp_path, num_shards):
    values = write(tmp_path, num_shards)
    assert checkpoint.load_state(tmp_path) == (STATE, num_shards)
    sizes = checkpoint.parse_state((tmp_path / "state.json").read_bytes()).sizes
    assert sizes == {path.name: path.stat().st_size for path in tmp_path.iterdir() if path.name != "state.json"}
    (row,) = checkpoint.load_log(tmp_path)
    assert {name: row[name] for name in ROW} == ROW
    with checkpoint.open_tensors(tmp_path, num_shards) as tensors:
        for key in (checkpoint.WEIGHT, "exp_avg"):
            assert tensors.names(key) == sorted(values)
            assert all(torch.equal(tensors[label(name, key)], value) for name, value in values.items())


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(1, 9))
def test_shards_are_about_equally_large(sizes, num_shards):
    named = {f"p{number}": size for number, size in enumerate(sizes)}
    shard_of = checkpoint.owners(named, num_shards)
    filled = [sum(size for name, size in named.items() if shard_of[name] == shard) for shard in range(num_shards)]
    assert set(shard_of) == set(named)
    assert max(filled) <= sum(sizes) / num_shards + max(sizes)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    write(tmp_path, 2)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json", ".parquet"}


def test_empty_tensors_are_not_saved(tmp_path):
    with pytest.raises(AssertionError, match="a is empty"):
        checkpoint.save_shard({"a": torch.empty(0)}, tmp_path / "w.safetensors")


def test_another_format_is_refused(tmp_path):
    write(tmp_path, 1)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"version": 99}))
    with pytest.raises(InputError, match="another version"):
        checkpoint.load_state(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"version": 3}'])
def test_a_state_that_cannot_be_read_is_refused_with_what_to_do(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"no readable state\.json\)\. .* remove the directory checkpoints/"):
        checkpoint.load_state(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_shard_that_is_missing_or_damaged_is_named(tmp_path, damage):
    write(tmp_path, 2)
    path = tmp_path / checkpoint.shard_name(1, 2)
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-20])
    with (
        pytest.raises(InputError, match=r"tensors-00001-of-00002\.safetensors cannot be read"),
        checkpoint.open_tensors(tmp_path, 2),
    ):
        pass


def test_weights_of_another_model_are_refused(tmp_path):
    write(tmp_path, 1)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)})
    with (
        checkpoint.open_tensors(tmp_path, 1) as tensors,
        pytest.raises(InputError, match=r"of another model: a\.lora_0 \(3, 1\)"),
    ):
        checkpoint.load_weights_into(model, tensors)
