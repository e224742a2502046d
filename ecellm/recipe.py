"""Reading a recipe: one YAML file, then dotted overrides, over the model's preset, checked against a config model.

A mistake ends in one message that says which key, what was given, and the nearest key that exists.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ecellm.errors import InputError
from ecellm.local_files import require_ordinary_file
from ecellm.presets import find_preset, named_model, with_preset
from ecellm.redaction import redacted
from ecellm.visible_text import short_repr
from ecellm.yaml_text import MAX_BYTES, parse_yaml

Config = TypeVar("Config", bound=BaseModel)
_MOST_PROBLEMS = 20


def load_config(config_class: type[Config], recipe: str | None, overrides: Sequence[str]) -> Config:
    """Read `recipe` (a YAML path, or None), apply `overrides` (`a.b=value`, value in YAML) and validate.

    What neither of them says comes from the preset of the model that they name, then from the config's own defaults.

    Raises:
        InputError: file or override is malformed, a key is unknown, or a value does not fit.
    """
    values = read_yaml(recipe) if recipe else {}
    for override in overrides:
        apply_override(values, override)
    preset = find_preset(named_model(config_class, values))
    return validate(config_class, with_preset(config_class, values, preset), recipe or "the command line")


def read_yaml(path: str) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping."""
    require_ordinary_file(path)
    try:
        with Path(path).open("rb") as file:
            values = parse_yaml(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise InputError(f"cannot read recipe {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"recipe {path} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"recipe {path} must be a mapping of keys to values, not {type(values).__name__}")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key in `values` in place: `optimizer.learning_rate=1e-4`."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"override {short_repr(override)} must look like key=value or outer.inner=value")
    try:
        value = _parse_value(text)
    except ValueError:
        raise InputError(f"override {short_repr(override)}: the value is not valid YAML") from None
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        child = target.setdefault(parent, {})
        if child is None:
            child = target[parent] = {}
        if not isinstance(child, dict):
            raise InputError(f"override {short_repr(override)}: {short_repr(parent)} holds a value, not keys")
        target = child
    target[last] = value


def _parse_value(text: str) -> Any:
    value = parse_yaml(text)
    if isinstance(value, str) and text.lstrip()[:1] not in {'"', "'"}:  # what is quoted is text, whatever it looks like
        # YAML 1.1 reads 1e-4 as text; people mean a number.
        try:
            return float(value) if any(c.isdigit() for c in value) else value
        except ValueError:
            return value
    return value


def validate(config_class: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Validate `values`; every problem becomes a line of one message."""
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        lines = [_explain(config_class, problem) for problem in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            lines.append(f"and {len(problems) - _MOST_PROBLEMS:,} more")
        raise InputError(f"{where}: " + "; ".join(lines)) from None


def _explain(config_class: type[BaseModel], problem: Any) -> str:
    location = tuple(problem["loc"])
    dotted = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        valid = list(_model_at(config_class, location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown key {short_repr(dotted)}: {hint}valid keys are {', '.join(valid)}"
    if problem["type"] == "missing":
        return f"missing key {dotted!r}: give it in the recipe or as {dotted}=VALUE"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    return f"{dotted}: {message} (given: {short_repr(redacted(problem['input'], dotted))})"


def _model_at(config_class: type[BaseModel], location: tuple[Any, ...]) -> type[BaseModel]:
    """Follow a location of nested fields to the model that holds its end."""
    current = config_class
    for part in location:
        field = current.model_fields.get(str(part))
        if field is None:
            continue  # the name of an entry of a mapping, such as a stage
        models = [a for a in (field.annotation, *get_args(field.annotation)) if _is_model(a)]
        if models:
            current = models[0]
    return current


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
