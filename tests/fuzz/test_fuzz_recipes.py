"""Recipes, overrides and lists of addresses: whatever the YAML, a config that has a fingerprint, or one message."""

import io
from functools import cache
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecellm import config as configs
from ecellm.command_line import print_plan
from ecellm.config import FinetuneConfig, IngestConfig, PipelineConfig, PredictConfig, content_of
from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_of
from ecellm.pipeline import resolve
from ecellm.recipe import load_config
from ecellm.sources.fetch_addresses import read_addresses
from ecellm.stages import load_stage
from ecellm.storage import Storage
from ecellm.yaml_text import parse_yaml
from tests.conftest import ROOT
from tests.fuzz.mutations import HOSTILE_BYTES, changed_json, damaged_bytes
from tests.fuzz.outcomes import fuzzed, read_or_be_told, scratch_directory

STORAGE = Storage()
JOBS = [
    configs.BuildConfig,
    IngestConfig,
    configs.PreprocessConfig,
    FinetuneConfig,
    PredictConfig,
    configs.EvaluateConfig,
    configs.FetchConfig,
]
LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12))]
)
MERGES = "\n".join(
    ["a0: &a0 {k: v}", *(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, 12))]
)
# What no recipe may hold, by what the message says of it.
HOSTILE_YAML = {
    "billion laughs": (LAUGHS, "more than 100,000 values"),
    "billion merges": (MERGES, "more than 100,000 values"),
    "long text, often": ("a: &a " + "x" * 3_000_000 + "\nb: [" + ", ".join(["*a"] * 50_000) + "]", "more than 100,000 values"),
    "alias of itself": ("a: &a [*a]", "an alias stands in what it stands for"),
    "Python object": ("seed: !!python/object/apply:os.system ['touch EXECUTED']", "could not determine a constructor"),
    "Python name": ("seed: !!python/name:os.system ''", "could not determine a constructor"),
    "month 13": ("seed: 2024-13-45", "month must be in 1..12"),
    "a day": ("seed: !!timestamp tomorrow", "not valid YAML"),
    "5,000 digits": ("seed: " + "9" * 5000, "not valid YAML"),
    "hexadecimal without end": ("seed: 0x" + "f" * 5000, "more than 64 bits"),
    "sexagesimal without end": ("seed: 1" + ":1" * 5000, "not valid YAML"),
    "no truth": ("overwrite: !!bool maybe", "not valid YAML"),
    "no number": ("seed: !!int ''", "not valid YAML"),
    "list as key": ("? [a, b]\n: 1", "unhashable key"),
    "key twice": ("seed: 1\noutput_dir: x\nseed: 2", "the key 'seed' is there twice"),
    "deep": ("a: " + "[" * 100_000, "nested too deeply"),
    "deep blocks": ("\n".join(" " * k + f"k{k}:" for k in range(1500)), "nested too deeply"),
    "half a character": ('output_dir: "\\uD800"', "half a character"),
    "NUL": ('output_dir: "a\\0b"', "a NUL byte"),
    "control characters": ("output_dir: a\x07b", "special characters are not allowed"),
    "not UTF-8": (b"output_dir: caf\xe9", "not valid YAML"),
    "two documents": ("seed: 1\n---\nseed: 2", "expected a single document"),
    "list": ("- a", "must be a mapping"),
    "tabs": ("seed:\n\t- 1", "not valid YAML"),
    "many megabytes": ("x" * 5_000_000, "longer than 4 MiB"),
}  # fmt: skip


@cache
def recipes():
    return [path.read_bytes() for path in sorted((ROOT / "jobs/recipes").glob("*.yaml"))]


@cache
def values():
    """Return the recipes' values, dates as texts: JSON is YAML too."""
    return [yaml.safe_load(text) for text in recipes()]


def use(config):
    """Do with a config what every job does before it looks at its inputs."""
    assert len(fingerprint_of({"config": content_of(config)})) == 64
    if isinstance(config, PipelineConfig):
        for node in resolve(config, load_stage):
            use(node.config)
        return
    stage = SimpleNamespace(job="job", inputs=lambda _config: {})
    plan = SimpleNamespace(stage=stage, config=config, identity={"inputs": {}}, output_dir="", state="", fingerprint="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", io.StringIO())
        print_plan(plan)


@fuzzed(3)
@given(data=st.data())
def test_a_recipe(data):
    drawn = data.draw(st.one_of(damaged_bytes(recipes()), changed_json(values()), st.binary(max_size=60)))
    config_class = data.draw(st.sampled_from([PipelineConfig, *JOBS]))
    with scratch_directory() as scratch:
        (scratch / "recipe.yaml").write_bytes(drawn)
        config = read_or_be_told(lambda: load_config(config_class, str(scratch / "recipe.yaml"), []), "recipe.yaml")
        if config is not None:
            read_or_be_told(
                lambda: use(config), "stage", "pipeline", "stages", "needs", "job", "output_dir", "recipe.yaml"
            )


KEYS = st.sampled_from(
    ["seed", "output_dir", "lora.r", "optimizer.learning_rate", "storage.endpoint_url", "storage", "a.b.c.d", ".", "..", "a..b", "", "mixture", "price.per_actor_hour"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from([piece.decode("utf-8", "surrogateescape") for piece in HOSTILE_BYTES]),
    st.sampled_from([text if isinstance(text, str) else "" for text, _ in HOSTILE_YAML.values()]),
)


@fuzzed(3)
@given(data=st.data())
def test_overrides(data):
    pairs = data.draw(st.lists(st.tuples(KEYS, TEXTS), min_size=1, max_size=3))
    overrides = [*(f"{key}={text}" for key, text in pairs), *data.draw(st.lists(TEXTS, max_size=1))]
    needed = {
        IngestConfig: ["release=r", "output_dir=o"],
        FinetuneConfig: ["rows_dir=r", "base_model=b", "output_dir=o"],
    }
    config_class = data.draw(st.sampled_from([IngestConfig, FinetuneConfig]))
    config = read_or_be_told(
        lambda: load_config(config_class, None, [*needed[config_class], *overrides]), "command line", "override"
    )
    if config is not None:
        use(config)


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_a_recipe_that_no_config_could_be_is_told(name, tmp_path, monkeypatch):
    text, told = HOSTILE_YAML[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_config(IngestConfig, "recipe.yaml", [])
    assert told in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert not (tmp_path / "EXECUTED").exists()
    with pytest.raises(InputError, match=r"addresses .*recipe\.yaml"):
        read_addresses(STORAGE, str(tmp_path / "recipe.yaml"))


def test_anchors_dates_and_merges_that_people_write_are_read():
    text = "base: &base {lr: 1.5, on: 2024-01-31}\none: {<<: *base, lr: 2}\ntwo: [*base, *base]\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None


def test_a_value_of_any_size_is_shown_in_part(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"release: [{'x' * 100_000}]\n" + "".join(f"key{k}: 1\n" for k in range(5000))
    )
    with pytest.raises(InputError, match=r"and 4,\d\d\d more") as caught:
        load_config(IngestConfig, str(tmp_path / "recipe.yaml"), [])
    assert len(str(caught.value)) < 6000
