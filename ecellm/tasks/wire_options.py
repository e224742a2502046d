"""The texts of the lettered options: wire formats of the ECInstruct release (CC-BY-4.0), shipped as data."""

import json
from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, dict[str, list[str]]]:
    text = resources.files("ecellm.tasks").joinpath("instructions.json").read_text(encoding="utf-8")
    tasks: dict[str, dict[str, list[str]]] = json.loads(text)["tasks"]
    return tasks


def option_list(short_name: str) -> tuple[str, ...]:
    """Return the options of PRP, SA or MPC, each with its letter: ("A: very positive", ...)."""
    return tuple(_catalogue()[short_name]["options"])


@lru_cache(maxsize=8)
def options_text(short_name: str) -> str:
    """Return the options as a sample's `options` field has them: a JSON list."""
    return json.dumps(list(option_list(short_name)))
