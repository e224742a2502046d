import json

import pytest
import torch

from ecellm.errors import InputError
from ecellm.training import checkpoint
from ecellm.training.checkpoint import Best, Checkpoint, TrainingState


def example():
    row = {"step": 1, "epoch": 0.5, "kind": "train", "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0}
    row |= {"tokens_per_second": 10.0, "padding_share": 0.1, "seconds": 3.0}
    weights = {"a.lora_A": torch.randn(3, 2), "a.lora_B": torch.randn(2)}
    moments = {
        f"{key}/{name}": torch.rand_like(value) for key in ("exp_avg", "exp_avg_sq") for name, value in weights.items()
    }
    return Checkpoint(TrainingState(7, 12.5, Best(4, 1.25, "best/step-4")), weights, moments, [row])


def test_round_trip(tmp_path):
    saved = example()
    checkpoint.save(saved, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded.state == saved.state
    assert loaded.log == saved.log
    for name in ("weights", "moments"):
        before, after = getattr(saved, name), getattr(loaded, name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    checkpoint.save(example(), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json", ".parquet"}


def test_empty_shards_are_not_saved(tmp_path):
    with pytest.raises(AssertionError, match="a is empty"):
        checkpoint.save_weights({"a": torch.empty(0)}, tmp_path / "w.safetensors")


def test_another_format_is_refused(tmp_path):
    checkpoint.save(example(), tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"version": 99}))
    with pytest.raises(InputError, match="another version"):
        checkpoint.load_state(tmp_path)
