"""Model directories that others made: config, tokenizer, weights and adapters with hostile content, refused in a line."""

import json
import shutil
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.inference.engines.transformers_engine import load_model
from ecellm.models import load_model_config, local_model, require_weights
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.tokenizer import load_prompt_tokenizer, tokenizer_fingerprint
from ecellm.storage import Storage
from ecellm.training.checks import _describe_model
from tests.fuzz.mutations import changed_json, damaged_bytes
from tests.fuzz.outcomes import fuzzed, read_or_be_told, scratch_directory
from tests.training.conftest import make_llama

STORAGE = Storage()
FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors")
PROMPT = {"prompt_format": "alpaca", "max_length": 64, "max_answer_tokens": 8}


@cache
def model():
    """Make a tiny model once; return its directory."""
    import tempfile

    return make_llama(Path(tempfile.mkdtemp(prefix="ecellm-fuzz-model-")) / "llama", num_layers=1)


@cache
def adapter():
    """Make an adapter of the tiny model once."""
    import peft
    from transformers import AutoModelForCausalLM

    directory = model().parent / "adapter"
    own = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(model()), peft.LoraConfig(r=2, target_modules=["q_proj"])
    )
    own.save_pretrained(directory)
    return directory


def load(directory, **prompt):
    """Do with a model's directory what predict and finetune do before their first row."""
    path, name = str(directory), str(directory)
    require_weights(local_model(name, None, STORAGE))
    load_model_config(name, None, STORAGE)
    tokenizer = load_prompt_tokenizer(name, None, STORAGE, **{**PROMPT, **prompt})
    tokenizer.prompt(PromptParts("instruction", "input"))
    tokenizer_fingerprint(tokenizer.tokenizer)
    _describe_model(FinetuneConfig(rows_dir="r", base_model=name, output_dir="o"), STORAGE, name)
    return load_model(path, None, {}, precision="fp32", use_gpu=False)


@fuzzed(2)
@given(data=st.data())
def test_a_models_files(data):
    name = data.draw(st.sampled_from(FILES))
    content = (model() / name).read_bytes()
    if name.endswith(".json") and name != "tokenizer.json" and data.draw(st.booleans()):
        drawn = data.draw(changed_json([json.loads(content)]))
    else:
        drawn = data.draw(damaged_bytes([content]))
    with scratch_directory() as scratch:
        directory = scratch / "model"
        shutil.copytree(model(), directory)
        (directory / name).write_bytes(drawn)
        read_or_be_told(lambda: load(directory), directory)


@fuzzed()
@given(data=st.data())
def test_an_adapters_files(data):
    name = data.draw(st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
    content = (adapter() / name).read_bytes()
    is_json = name.endswith(".json") and data.draw(st.booleans())
    drawn = data.draw(changed_json([json.loads(content)]) if is_json else damaged_bytes([content]))
    with scratch_directory() as scratch:
        directory = scratch / "adapter"
        shutil.copytree(adapter(), directory)
        (directory / name).write_bytes(drawn)
        adapters = {"own": str(directory)}
        read_or_be_told(lambda: load_model(str(model()), None, adapters, precision="fp32", use_gpu=False), directory)


def without_safetensors(directory):
    shutil.copytree(model(), directory)
    (directory / "model.safetensors").unlink()
    return directory


def header_of(tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


LYING = {
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{",
    "a tensor beyond the end": header_of(
        {"lm_head.weight": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}
    ),
    "a shape of 2^80": header_of({"lm_head.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}),
    "tensors that overlap": header_of({k: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for k in "ab"})
    + bytes(8),
    "a deep header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "no header": b"",
    "a wrong type": header_of({"lm_head.weight": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
    "no weights at all": header_of({}),
}


@pytest.mark.parametrize("lie", LYING)
def test_a_lying_header_of_weights_is_told(lie, tmp_path):
    directory = shutil.copytree(model(), tmp_path / "model")
    (directory / "model.safetensors").write_bytes(LYING[lie])
    with pytest.raises(InputError, match=str(directory)):
        load_model(str(directory), None, {}, precision="fp32", use_gpu=False)


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    directory = shutil.copytree(model(), tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights .*model\.norm\.weight"):
        load_model(str(directory), None, {}, precision="fp32", use_gpu=False)


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", "nowhere.safetensors", "", None, 7, ["x"]])
def test_an_index_of_weights_that_names_other_files(file, tmp_path):
    directory = without_safetensors(tmp_path / "model")
    shutil.copy(model() / "model.safetensors", tmp_path / "outside.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": file}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=str(directory)):
        load(directory)


TEMPLATES = {
    "a loop": ("{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}", "too much time or memory"),
    "a text of 100 GB": ("{{ 'x' * 100000000000 }}", "MemoryError|too much time or memory"),
    "a way out": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    "a wrong word": ("{% frobnicate %}", "TemplateSyntaxError|unknown tag"),
    "a refusal": ("{{ raise_exception('not for you') }}", "not for you"),
    "deep brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "fails|too much"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_cannot_be_used_is_told(name, tmp_path):
    template, told = TEMPLATES[name]
    directory = shutil.copytree(model(), tmp_path / "model")
    (directory / "chat_template.jinja").write_text(template)
    with pytest.raises(InputError, match=told) as caught:
        load_prompt_tokenizer(str(directory), None, STORAGE, **{**PROMPT, "prompt_format": "chat_template"})
    assert str(directory) in str(caught.value)


def test_a_chat_template_of_the_usual_kind_is_used(tmp_path):
    directory = shutil.copytree(model(), tmp_path / "model")
    (directory / "chat_template.jinja").write_text("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    tokenizer = load_prompt_tokenizer(str(directory), None, STORAGE, **{**PROMPT, "prompt_format": "chat_template"})
    assert tokenizer.prompt(PromptParts("w5", "w6")).ids


HUGE = {
    "num_hidden_layers": 10**7,
    "hidden_size": 2**40,
    "vocab_size": 2**40,
    "num_attention_heads": 0,
    "intermediate_size": -1,
}


@pytest.mark.parametrize("field", HUGE)
def test_a_config_of_impossible_sizes_is_told_before_it_fills_the_memory(field, tmp_path):
    directory = shutil.copytree(model(), tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {field: HUGE[field]}))
    with pytest.raises(InputError, match=str(directory)):
        load(directory)
