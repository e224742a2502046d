"""BLEURT: equal to the original code, whose checkpoints are read as they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.config import StorageConfig
from ecellm.errors import InputError
from ecellm.evaluation.similarity.bleurt import Bleurt, bleurt_directory, cut_longest_first
from ecellm.evaluation.similarity.loading import loadable
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.storage import Storage
from tests.evaluation.similarity.conftest import SENTENCES, hostile_pairs, ordinary_pairs
from tests.evaluation.similarity.original_bleurt import original_figures

TOLERANCE = 2e-5  # fp32, figures of about 1 with weights that are large on purpose


def load(path, batch_size=8):
    return Bleurt(path, batch_size=batch_size, device="cpu")


def test_it_equals_the_original_code_pair_by_pair(bleurt_dir):
    pairs = [*ordinary_pairs(), *hostile_pairs()]
    figures = np.array(load(bleurt_dir).score(pairs)["bleurt"])
    assert np.abs(figures - original_figures(bleurt_dir, pairs)).max() < TOLERANCE
    assert figures.std() > 0.01  # the figures tell pairs apart
    assert np.isfinite(figures).all()


def test_it_does_not_depend_on_company_or_batch_size(bleurt_dir):
    pairs = [*ordinary_pairs(), *hostile_pairs()[:6]]
    together = np.array(load(bleurt_dir).score(pairs)["bleurt"])
    measure = load(bleurt_dir, batch_size=1)
    assert np.abs(together - measure.score(pairs)["bleurt"]).max() < TOLERANCE
    assert np.abs(together - [measure.score([pair])["bleurt"][0] for pair in pairs]).max() < TOLERANCE
    assert measure.score([]) == {"bleurt": []}


def test_only_the_first_300_words_count(bleurt_dir):
    start = "it " * 299
    answers = [f"{start}is lamp", f"{start}is red blue", f"{start}is", f"{start}phone"]
    *same, other = load(bleurt_dir).score([TextPair(answer, SENTENCES[2]) for answer in answers])["bleurt"]
    assert same == pytest.approx([same[0]] * 3, abs=TOLERANCE)
    assert abs(other - same[0]) > 10 * TOLERANCE


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 50))
def test_the_longer_text_is_cut_first(num_first, num_second, most):
    first, second = list(range(num_first)), list(range(num_second))
    cut = cut_longest_first(first, second, most)
    while len(first) + len(second) > most:
        (first if len(first) > len(second) else second).pop()
    assert cut == (first, second)


def test_what_is_no_checkpoint_of_the_family_is_refused(bleurt_dir, encoder, tmp_path):
    with pytest.raises(InputError, match="no BLEURT checkpoint: model_type is 'bert', not 'bleurt'"):
        load(encoder)
    copy = tmp_path / "copy"
    shutil.copytree(bleurt_dir, copy)
    (copy / "spm.model").rename(copy / "sent_piece.model")
    load(str(copy))  # Google's name of it
    (copy / "sent_piece.model").unlink()
    with pytest.raises(InputError, match="lacks BLEURT's SentencePiece model"):
        load(str(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"embedding_size": None}))
    with pytest.raises(InputError, match="older BLEURT checkpoints: give BLEURT-20-D12"):
        load(str(copy))
    shutil.copy(f"{bleurt_dir}/spm.model", copy)
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(InputError, match="do not fit its config.json: 16 missing, e.g. rembert.encoder.layer.3"):
        load(str(copy))


def test_a_checkpoint_may_lie_in_an_object_store(bleurt_dir, store, monkeypatch, tmp_path):
    store.log_in(monkeypatch, "bleurt-test")
    monkeypatch.setenv("ECELLM_CACHE", str(tmp_path))
    storage = Storage(StorageConfig(endpoint_url=store.endpoint_url))
    storage.upload_dir(Path(bleurt_dir), "s3://bleurt-test/model")
    fetched = bleurt_directory("s3://bleurt-test/model", None, storage)
    assert fetched.startswith(str(tmp_path))
    pairs = ordinary_pairs()[:3]
    assert load(fetched).score(pairs) == load(bleurt_dir).score(pairs)


def test_a_checkpoint_may_lie_in_a_directory_or_on_a_hub(bleurt_dir):
    assert bleurt_directory(bleurt_dir, None, Storage()) == bleurt_dir
    with pytest.raises(InputError, match="does not exist"):
        bleurt_directory("/no/such/model", None, Storage())
    with (
        pytest.raises(InputError, match="bleurt_model no-one/BLEURT cannot be loaded"),
        loadable("bleurt_model", "no-one/BLEURT"),
    ):
        bleurt_directory("no-one/BLEURT", None, Storage())
