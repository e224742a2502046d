"""What is published: files that plain libraries load, and nothing that runs code."""

import pytest
from conftest import example_rows, make_llama, make_t5, write_rows

from ecellm.config import FinetuneConfig, LoraSettings
from ecellm.model_loading import load_base
from ecellm.storage import Storage
from ecellm.training import export
from ecellm.training.card import TrainingFacts, describe_rows
from ecellm.training.job import Job
from ecellm.training.model import add_adapters

LOG = [{"step": 1, "epoch": 1.0, "kind": "train", "loss": 2.0, "tokens_per_second": 10.0, "padding_share": 0.0}]


@pytest.fixture
def published(tmp_path):
    rows = str(write_rows(tmp_path / "rows", {"train": example_rows(5)}))

    def publish(base, name):
        config = FinetuneConfig(rows_dir=rows, base_model=str(base), output_dir=str(tmp_path / "out"))
        job = Job(config, Storage(), rows, str(base), str(tmp_path / "checkpoints"))
        facts = TrainingFacts(config, str(base), describe_rows(Storage(), rows), LOG, None, 1.0)
        model = load_base(str(base), revision=None, dtype="auto")
        model.generation_config.temperature = 0.3  # of the base model: greedy answers have none
        if name == "adapter":
            model = add_adapters(model, LoraSettings(), seed=1)
        assert export._publish(model, job, str(base), f"{tmp_path}/out/{name}", facts) == name
        return tmp_path / "out" / name

    return publish


@pytest.mark.parametrize(("name", "weights"), [("adapter", "adapter_model"), ("model", "model"), ("merged", "model")])
def test_weights_are_safetensors_and_have_a_card(tmp_path, published, name, weights):
    directory = published(make_llama(tmp_path / "base"), name)
    names = {file.name for file in directory.iterdir()}
    assert {f"{weights}.safetensors", "README.md", "loss_curve.svg", "tokenizer.json"} <= names
    assert {file.suffix for file in directory.iterdir()} <= {".safetensors", ".json", ".md", ".svg"}
    assert "tuned by ecellm on 5 e-commerce instructions" in (directory / "README.md").read_text()


@pytest.mark.parametrize("make", [make_llama, make_t5])
def test_a_whole_model_answers_greedily_until_the_tokenizers_end_token(tmp_path, published, make):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

    directory = published(make(tmp_path / "base"), "model")
    saved = GenerationConfig.from_pretrained(directory)
    assert (saved.eos_token_id, saved.pad_token_id, saved.temperature) == (2, 0, None)
    assert not saved.do_sample
    kind = AutoModelForSeq2SeqLM if make is make_t5 else AutoModelForCausalLM
    model, prompt = kind.from_pretrained(directory), torch.tensor([[1, 20, 21]])
    answers = [model.generate(prompt, max_new_tokens=5).tolist() for _ in range(2)]
    assert answers[0] == answers[1]
