"""What a kill may leave of a task's checkpoints: whole ones are gone on from, cut off ones are not."""

import json

import pytest

from ecellm.baselines.loop import SIZES, STATE_NAME
from ecellm.baselines.stage import _make_ready
from ecellm.storage import Storage
from ecellm.training.checkpoint import RUN_DIRECTORY
from ecellm.training.recovery import LIST_NAME


@pytest.fixture
def checkpoints(tmp_path):
    """A task's checkpoints, one of them, as Ray Train lists it."""
    directory = tmp_path / "checkpoints" / "Sentiment_Analysis"
    own = directory / RUN_DIRECTORY / "checkpoint_1"
    (own / "best").mkdir(parents=True)
    (own / "model.safetensors").write_bytes(b"weights")
    (own / "best" / "config.json").write_bytes(b"{}")
    sizes = {"model.safetensors": 7, "best/config.json": 2}
    (own / STATE_NAME).write_text(json.dumps({"num_epochs": 1, SIZES: sizes}))
    listed = {"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}
    (directory / RUN_DIRECTORY / LIST_NAME).write_text(json.dumps(listed))
    return directory


def test_a_whole_checkpoint_stays(checkpoints):
    _make_ready(Storage(), str(checkpoints))
    assert (checkpoints / RUN_DIRECTORY / "checkpoint_1" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("file", "left"),
    [
        (LIST_NAME, b'{"checkpoint_results": ['),
        ("checkpoint_1/model.safetensors", b"wei"),
        ("checkpoint_1/best/config.json", None),
        (f"checkpoint_1/{STATE_NAME}", b"{"),
        (f"checkpoint_1/{STATE_NAME}", None),
    ],
)
def test_what_was_cut_off_is_removed_so_that_training_begins_again(checkpoints, file, left):
    path = checkpoints / RUN_DIRECTORY / file
    path.unlink() if left is None else path.write_bytes(left)
    _make_ready(Storage(), str(checkpoints))
    assert not checkpoints.exists()


def test_nothing_there_is_nothing_to_do(tmp_path):
    _make_ready(Storage(), str(tmp_path / "none"))
