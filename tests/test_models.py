"""Where a model's name leads, and what is said where it leads nowhere."""

import pytest

from ecellm.errors import InputError
from ecellm.models import local_model, locate, model_fingerprint, require_weights
from ecellm.storage import Storage


def test_a_path_is_made_absolute_and_a_hub_name_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert locate("google/gemma-3-270m") == "google/gemma-3-270m"
    assert locate("./m") == str(tmp_path / "m")
    assert locate("models/mistyped") == str(tmp_path / "models" / "mistyped")
    assert locate("package://some-weights") == "package://some-weights"


def test_a_mistyped_directory_is_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        model_fingerprint(locate("models/mistyped"), None, Storage())
    with pytest.raises(InputError, match="has no config.json"):
        local_model(locate("models/mistyped"), None, Storage())


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(InputError, match="no-such-weights is not installed"):
        model_fingerprint("package://no-such-weights", None, Storage())


def test_a_model_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="has no weights"):
        require_weights(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    require_weights(str(tmp_path))
