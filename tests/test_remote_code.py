"""Models that bring Python code of their own: refused with one clear message, and run on request alone."""

import json
import shutil
import sys

import pytest

from ecellm.config import FinetuneConfig, PipelineConfig, PreprocessConfig
from ecellm.errors import InputError
from ecellm.models import load_model_config, local_model
from ecellm.pipeline import resolve
from ecellm.prompts.preprocess import _describe_tokenizer
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.recipe import validate
from ecellm.stages import load_stage
from ecellm.storage import Storage
from ecellm.training.checks import check_model_and_rows
from tests.training.conftest import example_rows, make_llama, write_rows

CONFIG = """
from transformers import LlamaConfig


class OwnConfig(LlamaConfig):
    model_type = "own_kind"
"""
MODEL = """
from transformers import LlamaForCausalLM

from .own_config import OwnConfig


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
TOKENIZER = """
from transformers import PreTrainedTokenizerFast


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
PROMPT = {"prompt_format": "alpaca", "max_length": 900, "max_answer_tokens": 8}
REFUSED = "set trust_remote_code=true if you trust the code of {}"


@pytest.fixture
def modules_cache(tmp_path, monkeypatch):
    """Where transformers puts the code that it runs; modules of an earlier place are forgotten."""
    cache = tmp_path / "modules"
    cache.mkdir()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(cache))
    monkeypatch.syspath_prepend(cache)
    _forget_modules()
    yield cache
    _forget_modules()


def _forget_modules():
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]


def _edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def own(tmp_path, modules_cache):
    """A model directory with a config and a model class of its own."""
    directory = make_llama(tmp_path / "own")
    (directory / "own_config.py").write_text(CONFIG)
    (directory / "own_model.py").write_text(MODEL)
    classes = {"AutoConfig": "own_config.OwnConfig", "AutoModelForCausalLM": "own_model.OwnModel"}
    _edit(directory / "config.json", model_type="own_kind", auto_map=classes)
    return directory


@pytest.fixture
def own_tokenizer(tmp_path, modules_cache):
    """A model directory with a tokenizer class of its own."""
    directory = make_llama(tmp_path / "own_tokenizer")
    (directory / "own_tokenizer.py").write_text(TOKENIZER)
    classes = {"AutoTokenizer": [None, "own_tokenizer.OwnTokenizer"]}
    _edit(directory / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=classes)
    _edit(directory / "config.json", model_type="llama")
    return directory


def test_a_models_own_code_is_refused_with_what_to_set(own, modules_cache):
    for load in (load_model_config, lambda *arguments: load_prompt_tokenizer(*arguments, **PROMPT)):
        with pytest.raises(InputError, match=REFUSED.format(own)):
            load(str(own), None, Storage())
    assert not list(modules_cache.rglob("own_config.py"))


def test_a_models_own_code_runs_on_request(own):
    config = load_model_config(str(own), None, Storage(), trust_remote_code=True)
    assert type(config).__name__ == "OwnConfig"
    tokenizer = load_prompt_tokenizer(str(own), None, Storage(), **PROMPT, trust_remote_code=True)
    assert not tokenizer.is_encoder_decoder
    assert tokenizer.prompt(PromptParts("w5", "w6")).ids
    assert local_model(str(own), None, Storage(), trust_remote_code=True) == str(own)


def test_a_model_that_transformers_knows_needs_no_trust(own):
    """Phi-2 and others bring code along that transformers has long had itself."""
    _edit(own / "config.json", model_type="llama")
    assert type(load_model_config(str(own), None, Storage())).__name__ == "LlamaConfig"


def test_a_tokenizers_own_code_too(own_tokenizer):
    tokenizer = load_prompt_tokenizer(str(own_tokenizer), None, Storage(), **PROMPT, trust_remote_code=True)
    assert type(tokenizer.tokenizer).__name__ == "OwnTokenizer"


def test_preprocess_asks_for_trust(own):
    values = {"samples_dir": "samples", "base_model": str(own), "output_dir": "out", **PROMPT}
    with pytest.raises(InputError, match=REFUSED.format(own)):
        _describe_tokenizer(PreprocessConfig(**values))
    assert _describe_tokenizer(PreprocessConfig(**values, trust_remote_code=True))["vocab_size"] == 160


def test_finetune_asks_for_trust_before_it_starts(own, tmp_path):
    rows = str(write_rows(tmp_path / "rows", {"train": example_rows(5)}))
    values = {"rows_dir": rows, "base_model": str(own), "output_dir": "out"}
    with pytest.raises(InputError, match=REFUSED.format(own)):
        check_model_and_rows(FinetuneConfig(**values), Storage(), rows, str(own))
    config = FinetuneConfig(**values, trust_remote_code=True)
    assert check_model_and_rows(config, Storage(), rows, str(own)).size.num_parameters


def test_a_config_that_is_of_no_use_is_named(tmp_path):
    shutil.copytree(make_llama(tmp_path / "base"), tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "never_heard_of"}')
    with pytest.raises(InputError, match="no usable config.json"):
        load_model_config(str(tmp_path / "broken"), None, Storage())


def test_trust_in_the_defaults_reaches_every_stage_that_loads_the_model():
    stages = {
        "rows": {"job": "preprocess", "config": {"samples_dir": "samples"}},
        "tuned": {"job": "finetune", "needs": ["rows"]},
        "after": {"job": "predict", "needs": ["tuned"], "config": {"samples_dir": "samples"}},
    }
    values = {"output_dir": "/runs/x", "stages": stages}
    for trust in (False, True):
        defaults = {"base_model": "org/own", **({"trust_remote_code": True} if trust else {})}
        config = validate(PipelineConfig, {**values, "defaults": defaults}, "test")
        assert {node.config.trust_remote_code for node in resolve(config, load_stage)} == {trust}
