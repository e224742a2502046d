"""Recipes and overrides: what a user may write, and what a mistake tells."""

import pytest

from ecellm.config import FinetuneConfig, PredictConfig, PreprocessConfig, content_of
from ecellm.errors import InputError
from ecellm.recipe import apply_override, load_config

REQUIRED = ["rows_dir=rows", "base_model=m", "output_dir=out"]


def test_overrides_win_over_the_file(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("rows_dir: rows\nbase_model: m\noutput_dir: out\noptimizer: {learning_rate: 0.5}\n")
    config = load_config(FinetuneConfig, str(recipe), ["optimizer.learning_rate=1e-4", "lora.r=4"])
    assert config.optimizer.learning_rate == 1e-4
    assert config.lora.r == 4
    assert config.optimizer.warmup_ratio == 0.05


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([*REQUIRED, "num_wrokers=2"], "did you mean 'num_workers'"),
        ([*REQUIRED, "optimizer.learning_rat=2"], "did you mean 'learning_rate'"),
        ([*REQUIRED, "method=prefix"], "method"),
        (["rows_dir=rows", "output_dir=out"], "missing key 'base_model'"),
        ([*REQUIRED, "optimizer"], "must look like key=value"),
        ([*REQUIRED, "seed=1", "seed.x=1"], "'seed' holds a value, not keys"),
    ],
)
def test_a_mistake_is_named(overrides, told):
    with pytest.raises(InputError, match=told):
        load_config(FinetuneConfig, None, overrides)


def test_values_that_do_not_go_together_are_refused():
    base = ["samples_dir=s", "base_model=m", "output_dir=o"]
    with pytest.raises(InputError, match="num_samples"):
        load_config(PreprocessConfig, None, [*base, "mixture={PM: 1}"])
    with pytest.raises(InputError, match="unknown setting"):
        load_config(PreprocessConfig, None, [*base, "settings=[IND]"])
    with pytest.raises(InputError, match="no room for a prompt"):
        load_config(PreprocessConfig, None, [*base, "max_length=100", "max_answer_tokens=100"])


@pytest.mark.parametrize(
    ("text", "told"), [("- a\n- b\n", "must be a mapping"), ("a: [", "not valid YAML"), (None, "cannot read recipe")]
)
def test_an_unreadable_recipe_is_named(tmp_path, text, told):
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=told):
        load_config(PredictConfig, str(path), [])


def test_only_what_changes_the_content_counts():
    one = load_config(FinetuneConfig, None, REQUIRED)
    same = load_config(
        FinetuneConfig, None, [*REQUIRED, "num_workers=8", "deepspeed.stage=3", "micro_batch_size=1", "output_dir=x"]
    )
    other = load_config(FinetuneConfig, None, [*REQUIRED, "lora.r=8"])
    assert content_of(one) == content_of(same)
    assert content_of(one) != content_of(other)


@pytest.mark.parametrize(("text", "value"), [("1e4", 1e4), ('"1e4"', "1e4"), ("'2'", "2"), ("a b", "a b")])
def test_what_is_quoted_in_an_override_is_text(text, value):
    values = {}
    apply_override(values, f"only={text}")
    assert values == {"only": value}
