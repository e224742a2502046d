"""Models that come as pickled Python are refused, with what to do; no code of theirs runs."""

import pickle
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from ecellm.config import FinetuneConfig, PredictConfig
from ecellm.errors import InputError
from ecellm.evaluation.similarity.loading import load_whole
from ecellm.inference.predict import _check_model
from ecellm.model_loading import load_base
from ecellm.models import require_weights
from ecellm.storage import Storage
from ecellm.training.checks import check_model_and_rows
from tests.training.conftest import example_rows, make_llama, write_rows

REFUSED = "has no .*safetensors. Its weights are pickled Python"


class Payload:
    """What runs when it is unpickled: it leaves a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "the-code-ran"


@pytest.fixture(params=["pytorch_model.bin", "model.pt", "model.ckpt"])
def pickled(tmp_path, trace, request):
    """A model whose weights are pickled, with code in them."""
    directory = make_llama(tmp_path / "model")
    (directory / "model.safetensors").unlink()
    (directory / request.param).write_bytes(pickle.dumps(Payload(trace)))
    return directory


def test_the_payload_would_run(tmp_path, trace):
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


def test_pickled_weights_are_refused_wherever_a_model_is_loaded(pickled, trace, tmp_path):
    rows = str(write_rows(tmp_path / "rows", {"train": example_rows(5)}))
    tuning = FinetuneConfig(rows_dir=rows, base_model=str(pickled), output_dir="out")
    answering = PredictConfig(samples_dir="samples", model=str(pickled), output_dir="out")
    for load in (
        lambda: require_weights(str(pickled)),
        lambda: load_base(str(pickled), revision=None, dtype="auto"),
        lambda: load_whole(LlamaForCausalLM, str(pickled)),
        lambda: check_model_and_rows(tuning, Storage(), rows, str(pickled)),
        lambda: _check_model(answering, Storage()),
    ):
        with pytest.raises(InputError, match=REFUSED):
            load()
    assert not trace.exists()


def test_safetensors_are_taken_though_pickled_weights_lie_beside_them(tmp_path, trace):
    directory = make_llama(tmp_path / "model")
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(trace)))
    assert load_base(str(directory), revision=None, dtype="auto").num_parameters()
    assert not trace.exists()


def test_other_safetensors_do_not_make_up_for_the_models_own(tmp_path, trace):
    directory = make_llama(tmp_path / "model")
    (directory / "model.safetensors").rename(directory / "other.safetensors")
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(InputError, match=REFUSED):
        load_base(str(directory), revision=None, dtype="auto")
    assert not trace.exists()


def test_a_pickled_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="has no adapter_model.safetensors. Its weights are pickled"):
        require_weights(str(tmp_path))
