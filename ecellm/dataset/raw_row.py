"""Checks one raw row of the release or of own data, and gives it its canonical place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecellm.config import OwnDataDefaults
from ecellm.dataset.partitions import Partition
from ecellm.dataset.sample import TEXT_FIELDS, check_text
from ecellm.errors import InputError
from ecellm.settings import SETTINGS, SPLITS
from ecellm.tasks import canonical_name

_NULLABLE = {"options", "few_shot_example"}


@dataclass(frozen=True)
class RawSample:
    """A checked row: where it belongs, and its texts."""

    partition: Partition
    texts: dict[str, str | None]


def read_raw_row(row: Any, defaults: OwnDataDefaults) -> RawSample:
    """Check a raw row.

    Args:
        row: one element of the release, or one row of own data.
        defaults: values of task, split and setting for rows without such a column.

    Raises:
        InputError: it is no mapping, lacks a column, or names an unknown task, split or setting.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"a row must be an object with named fields, not {type(row).__name__}")
    task = _task(_place(row, "task", defaults.task), defaults)
    split = _place(row, "split", defaults.split)
    setting = _place(row, "setting", defaults.setting)
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: known are {', '.join(SPLITS)}")
    if setting not in SETTINGS:
        raise InputError(f"unknown setting {setting!r}: known are {', '.join(SETTINGS)}")
    for name in ("instruction", "input", "output"):
        if name not in row:
            raise InputError(f"has no {name!r}")
    texts = {name: check_text(name, row.get(name), nullable=name in _NULLABLE) for name in TEXT_FIELDS}
    return RawSample(Partition(setting, split, task), texts)


def _place(row: Mapping[str, Any], name: str, default: str | None) -> str:
    value = row.get(name)
    if value is None:
        value = default
    if value is None:
        raise InputError(f"has no {name!r}: add the column, or give defaults.{name}")
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {type(value).__name__}")
    return value


def _task(name: str, defaults: OwnDataDefaults) -> str:
    """Return the canonical name; a name of the user's own is allowed where `defaults.task` announces it."""
    try:
        return canonical_name(name)
    except InputError:
        if name == defaults.task and name.replace("_", "").replace("-", "").isalnum():
            return name
        raise
