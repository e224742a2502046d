"""Every shipped recipe is valid, and says how it is submitted."""

import pytest

from ecellm.config import BuildConfig, PipelineConfig
from ecellm.config.study import StudyConfig
from ecellm.pipeline import resolve
from ecellm.recipe import load_config, read_yaml
from ecellm.stages import load_stage
from ecellm.studies.grid import make_grid, pipeline_of
from ecellm.submitting.request import job_of
from tests.conftest import ROOT
from tests.job_commands import check, commands_in

RECIPES = sorted((ROOT / "jobs" / "recipes").rglob("*.yaml"))
# Recipes that a preset completes: its name, and workers.
WITH_PRESET = {
    "ecellm_l": ("llama-2-13b-chat", 8),
    "ecellm_m": ("mistral-7b-instruct-v0.2", 8),
    "ecellm_s": ("phi-2", 4),
    "flan_t5_xl": ("flan-t5-xl", 4),
    "flan_t5_xxl": ("flan-t5-xxl", 8),
    "gemma3_1b": ("gemma-3-1b-it", 1),
    "llama2_7b": ("llama-2-7b-chat", 8),
    "llama3_2_3b": ("llama-3.2-3b-instruct", 4),
    "qwen3_0_6b": ("qwen3-0.6b", 1),
    "qwen3_8b_qlora": ("qwen3-8b", 1),
}
# Studies: stages, and how many of them tune a model.
STUDIES = {"demo_study": (19, 5), "paper_studies": (74, 21)}
# Models at endpoints: what they are asked for, and the key's name.
ENDPOINTS = {
    "claude_sonnet_5_5": ("claude-sonnet-5-5", "api.anthropic.com", "ANTHROPIC_API_KEY"),
    "gemini_3_8_flash": ("gemini-3.8-flash", "generativelanguage.googleapis.com", "GEMINI_API_KEY"),
    "gpt6_1_terra": ("gpt-6.1-terra", "api.openai.com", "OPENAI_API_KEY"),
}
# Recipes that tune nothing: model, preset, prompt format, decoding.
ANSWERS_ALONE = {
    "ecomgpt": ("./models/nlp_ecomgpt_multilingual-7B-ecom", "ecomgpt-7b", "ecomgpt", "greedy"),
    "llama2_13b_chat": ("meta-llama/Llama-2-13b-chat-hf", "llama-2-13b-chat", "alpaca", "paper"),
    "mistral_7b_instruct": ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b-instruct-v0.2", "mistral", "paper"),
    "published_l": ("NingLab/eCeLLM-L", "llama-2-13b-chat", "alpaca", "paper"),
    "published_m": ("NingLab/eCeLLM-M", "mistral-7b-instruct-v0.2", "mistral", "paper"),
    "published_s": ("NingLab/eCeLLM-S", "phi-2", "alpaca", "paper"),
}


def test_all_recipes_are_tested():
    assert [path.name for path in RECIPES] == [
        "claude_sonnet_5_5.yaml",
        "demo.yaml",
        "demo_study.yaml",
        "ecellm_l.yaml",
        "ecellm_m.yaml",
        "ecellm_s.yaml",
        "ecinstruct.yaml",
        "ecinstruct_clean.yaml",
        "ecomgpt.yaml",
        "flan_t5_xl.yaml",
        "flan_t5_xxl.yaml",
        "gemini_3_8_flash.yaml",
        "gemma3_1b.yaml",
        "gpt6_1_terra.yaml",
        "llama2_13b_chat.yaml",
        "llama2_7b.yaml",
        "llama3_2_3b.yaml",
        "mistral_7b_instruct.yaml",
        "paper_studies.yaml",
        "pm_gemma270m.yaml",
        "pm_minilm.yaml",
        "published_l.yaml",
        "published_m.yaml",
        "published_s.yaml",
        "qwen3_0_6b.yaml",
        "qwen3_8b_qlora.yaml",
        "sa_minilm.yaml",
        "task_specific.yaml",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_valid(path):
    """Whatever a recipe leaves to the command line (raw_dir, release) is given there."""
    if "stages" not in read_yaml(str(path)):
        config = load_config(BuildConfig, str(path), ["raw_dir=raw"])
        assert config.sizes.train == 10_000
        return
    given = ["defaults.raw_dir=raw", "defaults.release=dataset.json"]
    if path.stem in STUDIES:
        config = load_config(StudyConfig, str(path), given)
        nodes = resolve(pipeline_of(config, make_grid(config), lambda stage: None), load_stage)
        assert (len(nodes), sum(node.stage.job == "finetune" for node in nodes)) == STUDIES[path.stem]
        return
    config = load_config(PipelineConfig, str(path), given)
    nodes = resolve(config, load_stage)
    assert {node.name for node in nodes} == set(config.stages)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_is_asked_at_a_price_and_its_key_is_nowhere(name):
    answers = stages_never_run_here(name, "needs a key, and costs money")["answers"].config
    model, host, key = ENDPOINTS[name]
    assert (answers.engine, answers.model, answers.openai.api_key_env) == ("openai", model, key)
    assert host in answers.openai.base_url
    assert answers.price.is_given
    assert (answers.settings, answers.tasks) == (None, None)  # 0-shot and 1-shot, all tasks


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_begins_with_the_line_that_submits_it(path):
    header = path.read_text(encoding="utf-8").split("\noutput_dir:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    job = job_of(str(path))
    commands = [(name, words) for name, words in commands_in(header) if f"jobs/recipes/{path.name}" in words]
    assert [name for name, _ in commands if name != "demo"] in ([job, "submit"], [job, job, "submit"])
    for command in commands:
        check(*command)
    _, submitted = commands[-1]
    assert submitted[1:3] == ["--address", "http://HEAD:8265"]
    assert any(word.startswith("output_dir=s3://") for word in submitted)  # not on a disk of the head's


def test_the_two_builds_of_ecinstruct_differ_in_leakage_alone():
    reports, cleans = (
        load_config(BuildConfig, str(ROOT / "jobs" / "recipes" / f"{name}.yaml"), ["raw_dir=raw", "output_dir=out"])
        for name in ("ecinstruct", "ecinstruct_clean")
    )
    assert (reports.leakage, cleans.leakage) == ("report", "drop")
    assert reports.model_copy(update={"leakage": "drop"}) == cleans


def stages_never_run_here(name, needs):
    """Return what the recipe's stages come to, by name; the recipe must say that nobody has run it here, and why."""
    path = ROOT / "jobs" / "recipes" / f"{name}.yaml"
    assert f"# Never run here: {needs}" in path.read_text(encoding="utf-8")
    config = load_config(PipelineConfig, str(path), ["defaults.release=dataset.json"])
    return {node.name: node for node in resolve(config, load_stage)}


@pytest.mark.parametrize("name", WITH_PRESET)
def test_a_recipe_for_gpus_is_completed_by_its_preset(name):
    made = stages_never_run_here(name, "needs GPUs")
    preset, num_workers = WITH_PRESET[name]
    assert {made[stage].preset.name for stage in ("rows", "tuned", "answers")} == {preset}
    assert made["rows"].config.prompt_format == made["answers"].config.prompt_format
    tuned = made["tuned"].config
    assert (tuned.use_gpu, tuned.num_workers) == (True, num_workers)
    assert tuned.method == ("qlora" if name.endswith("qlora") else "lora")
    assert made["answers"].config.adapter.endswith(f"/runs/{name}/tuned/adapter")


@pytest.mark.parametrize("name", ANSWERS_ALONE)
def test_a_model_that_others_tuned_answers_all_test_splits_in_its_own_format(name):
    made = stages_never_run_here(name, "needs")
    assert set(made) == {"samples", "answers", "scores"}
    answers = made["answers"]
    model, preset, prompt_format, decoding = ANSWERS_ALONE[name]
    assert (answers.config.model, answers.config.adapter, answers.preset.name) == (model, None, preset)
    assert (answers.config.prompt_format, answers.config.decoding) == (prompt_format, decoding)
    assert (answers.config.split, answers.config.settings, answers.config.tasks) == ("test", None, None)
    assert answers.config.use_gpu


def test_recipes_without_a_preset_are_as_they_were():
    others = {path.stem for path in RECIPES} - set(WITH_PRESET) - set(ANSWERS_ALONE) - set(STUDIES)
    for name in others - {"ecinstruct", "ecinstruct_clean"}:
        given = ["defaults.raw_dir=raw", "defaults.release=dataset.json"]
        config = load_config(PipelineConfig, str(ROOT / "jobs" / "recipes" / f"{name}.yaml"), given)
        assert {node.preset for node in resolve(config, load_stage)} == {None}
