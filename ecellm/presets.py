"""Presets: what a base model is tuned and asked with, found by its name, below all that a user says.

    preset of the model  <  recipe  <  overrides

The same preset serves preprocess, finetune and predict, each of which takes the fields that it has, so that all three
agree on the prompt format. The presets themselves are in presets.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel

_MODEL_FIELDS = ("base_model", "model")


@dataclass(frozen=True)
class Preset:
    """Values for one base model, or for several that differ in size alone.

    Attributes:
        name: what the user is told.
        models: the last parts of the names that it covers, e.g. `Llama-2-13b-chat-hf`.
        values: config fields, nested as in a recipe.
    """

    name: str
    models: tuple[str, ...]
    values: Mapping[str, Any]


@lru_cache(maxsize=1)
def all_presets() -> tuple[Preset, ...]:
    """Return all presets, in the order of their file."""
    text = resources.files("ecellm").joinpath("presets.yaml").read_text(encoding="utf-8")
    presets: dict[str, dict[str, Any]] = yaml.safe_load(text)["presets"]
    return tuple(Preset(name, tuple(preset["models"]), preset["values"]) for name, preset in presets.items())


def find_preset(model: str | None) -> Preset | None:
    """Return the preset that covers a model, None if none does.

    Args:
        model: hub name, path or URL; only what stands behind the last slash counts, in any case.
    """
    last = (model or "").rstrip("/").rpartition("/")[2].lower()
    return next((preset for preset in all_presets() if last in {name.lower() for name in preset.models}), None)


def named_model(config_class: type[BaseModel], values: Mapping[str, Any]) -> str | None:
    """Return the model that a config's values name, None if it has no such field or the field holds no text."""
    field = next((name for name in _MODEL_FIELDS if name in config_class.model_fields), None)
    model = values.get(field) if field else None
    return model if isinstance(model, str) else None


def preset_of(config: BaseModel) -> Preset | None:
    """Return the preset that a config's model has, None if it has none."""
    return find_preset(named_model(type(config), dict(config)))


def with_preset(config_class: type[BaseModel], values: Mapping[str, Any], preset: Preset | None) -> dict[str, Any]:
    """Return `values` over those of the preset that `config_class` has fields for.

    Args:
        config_class: the config model that will hold the values.
        values: what the user gave.
        preset: the preset, None for none.
    """
    fields = config_class.model_fields
    below = {name: value for name, value in preset.values.items() if name in fields} if preset else {}
    return merged(below, values)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings in one, nested ones merged too; `above` wins."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            result[key] = merged(under, value)
        else:
            result[key] = value
    return result
