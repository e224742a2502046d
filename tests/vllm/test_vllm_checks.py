"""What vLLM does not run is refused before anything is loaded, and what it is asked of choices; no vLLM is needed."""

import json

import pytest

from ecellm.config import PredictConfig
from ecellm.errors import InputError
from ecellm.inference.engines import vllm_checks
from ecellm.inference.engines.vllm_checks import adapter_problem, check_vllm
from ecellm.inference.engines.vllm_engine import questions_of, scores_of
from ecellm.inference.request import Request
from ecellm.training.tiny_model import make_tiny_model

LORA = {"peft_type": "LORA", "r": 16, "bias": "none", "target_modules": ["q_proj", "lm_head"], "use_dora": False}


def request_of(*choice_ids):
    return Request("k", "", (1,), 4, tuple(f"c{n}" for n in range(len(choice_ids))), choice_ids)


def test_first_tokens_are_asked_for_where_they_differ_and_else_every_beginning():
    assert questions_of(request_of((3, 2), (4, 2))) == {(): [3, 4]}
    colliding = request_of((3, 4, 2), (3, 5, 2), (3, 2))
    assert questions_of(colliding) == {(): [3], (3,): [4, 5, 2], (3, 4): [2], (3, 5): [2]}


def test_scores_are_sums_over_the_tokens_asked_for():
    assert scores_of(request_of((3, 2), (4, 2)), {(): {3: -1.0, 4: -2.0, 9: 0.0}}) == [-1.0, -2.0]
    found = {(): {3: -1.0}, (3,): {4: -0.5, 2: -0.25}, (3, 4): {2: -0.125}}
    assert scores_of(request_of((3, 4, 2), (3, 2)), found) == [-1.625, -1.25]


@pytest.mark.parametrize(
    ("changes", "is_tied", "problem"),
    [
        ({}, False, None),
        ({}, True, "lm_head"),
        ({"target_modules": ["q_proj"]}, True, None),
        ({"r": 513}, False, "rank 513"),
        ({"rank_pattern": {"q_proj": 600}}, False, "rank 600"),
        ({"modules_to_save": ["lm_head"]}, False, "modules_to_save"),
        ({"alpha_pattern": {"q_proj": 4}}, False, "alpha_pattern"),
        ({"use_dora": True}, False, "use_dora"),
        ({"bias": "all"}, False, "bias"),
        ({"peft_type": "IA3"}, False, "IA3"),
    ],
)
def test_adapters_that_vllm_would_refuse_or_misread_are_known(changes, is_tied, problem):
    found = adapter_problem({**LORA, **changes}, is_tied=is_tied)
    assert found is None if problem is None else problem in found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"), ["yes no"] * 8, vocab_size=300)


def check(model, monkeypatch, version="0.29.0+cpu", **fields):
    monkeypatch.setattr(vllm_checks, "_installed_version", lambda: version)
    fields = {"samples_dir": "s", "output_dir": "o", "model": str(model), "engine": "vllm", **fields}
    check_vllm(PredictConfig(**fields))


def test_what_runs_passes(model, monkeypatch):
    check(model, monkeypatch)
    check(model, monkeypatch, version="0.29.0", use_gpu=True)


def test_no_vllm_and_one_for_other_machines_are_refused(model, monkeypatch):
    with pytest.raises(InputError, match="not installed on this node: pip install vllm"):
        check(model, monkeypatch, version=None)
    with pytest.raises(InputError, match="without a GPU: set use_gpu=false"):
        check(model, monkeypatch, use_gpu=True)
    with pytest.raises(InputError, match="with a GPU: set use_gpu=true"):
        check(model, monkeypatch, version="0.29.0")


def test_a_sequence_to_sequence_model_is_refused(model, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(InputError, match="sequence-to-sequence model; set engine=transformers"):
        check(tmp_path, monkeypatch)


def test_an_adapter_is_looked_into(model, tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text(json.dumps({**LORA, "r": 1000}))
    with pytest.raises(InputError, match="rank 1000 is above 512; tune with export_merged=true and give merged/"):
        check(model, monkeypatch, adapter=str(tmp_path))
    (tmp_path / "adapter_config.json").write_text(json.dumps(LORA))
    check(model, monkeypatch, adapter=str(tmp_path))
    with pytest.raises(InputError, match="no adapter in fp32 on a GPU"):
        fields = {"adapter": str(tmp_path), "use_gpu": True, "precision": "fp32"}
        check(model, monkeypatch, version="0.29.0", **fields)
