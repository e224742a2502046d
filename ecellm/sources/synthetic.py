"""Writes a made-up ECInstruct release: the same format and settings, from a small world in which labels can be learnt.

    write_release       dataset.json, one JSON array with the release's eight columns, written row by row
    write_qpr_labels    qpr_labels.json, the labels of QPR's test rows, which the release keeps apart
    write_amazon_google the raw files of one source, for build

All rows are fixed by (seed, sizes): the same examples stand under each setting, no example occurs twice in a task, and
asking for fewer tasks or settings changes no row of the others. The texts are invented.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ecellm.settings import SETTINGS, SPLITS, Setting
from ecellm.sources.synthetic_listings import write_amazon_google
from ecellm.sources.synthetic_tasks import SYNTHETIC_TASKS
from ecellm.sources.synthetic_world import World
from ecellm.tasks.example import Example

__all__ = ["Sizes", "write_amazon_google", "write_qpr_labels", "write_release"]

_MAX_REDRAWS = 1000
_DOMAINS = ("IND", "OOD")
_COLUMNS = ("split", "task", "setting", "instruction", "input", "options", "output", "few_shot_example")


@dataclass(frozen=True)
class Sizes:
    """How much is written.

    Attributes:
        train: train examples of each task.
        val: validation examples of each task.
        test: test examples of each task and domain.
        per_task: other numbers for some tasks, by short name and split: {"SR": {"train": 100}}.
        padding_words: meaningless words behind each title, review and document, to write big files.
    """

    train: int = 2000
    val: int = 100
    test: int = 250
    per_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    padding_words: int = 0

    def __post_init__(self) -> None:
        for task, numbers in self.per_task.items():
            if task not in SYNTHETIC_TASKS or not set(numbers) <= set(SPLITS):
                raise ValueError(
                    f"per_task[{task!r}]={dict(numbers)}: tasks are {', '.join(SYNTHETIC_TASKS)}, "
                    f"splits are {', '.join(SPLITS)}"
                )

    def of(self, task: str, split: str) -> int:
        """Return the number of examples of a task's split, by short name."""
        return self.per_task.get(task, {}).get(split, getattr(self, split))


def write_release(
    path: str | Path,
    *,
    seed: int = 1,
    sizes: Sizes | None = None,
    tasks: Sequence[str] = tuple(SYNTHETIC_TASKS),
    settings: Sequence[str] = tuple(SETTINGS),
) -> dict[str, int]:
    """Write a made-up release.

    Unseen and 1-shot settings, and all OOD settings, have test rows only. Memory holds one task's examples.

    Args:
        path: the JSON file, on a local disk.
        seed: fixes every row.
        sizes: how many examples each task has; the rows are as many for each setting.
        tasks: short names of the tasks to write.
        settings: the settings to write.

    Returns:
        The number of rows by `setting/split/task`, the task with the release's spelling.

    Raises:
        ValueError: a task or setting is unknown, or the world has not enough different examples.
    """
    _check_known("task", tasks, SYNTHETIC_TASKS)
    _check_known("setting", settings, SETTINGS)
    counts: dict[str, int] = {}
    with Path(path).open("w", encoding="utf-8") as file:
        separator = "[\n"
        for task in tasks:
            for row in _task_rows(task, seed, sizes or Sizes(), [SETTINGS[name] for name in settings]):
                _write_row(file, row, separator)
                separator = ",\n"
                key = f"{row['setting']}/{row['split']}/{row['task']}"
                counts[key] = counts.get(key, 0) + 1
        file.write("\n]\n" if counts else "[]\n")
    return counts


def write_qpr_labels(path: str | Path, *, seed: int = 1, sizes: Sizes | None = None) -> int:
    """Write the ESCI labels of QPR's test rows: a JSON list of lists, in row and candidate order.

    Args:
        path: the JSON file.
        seed: as for write_release.
        sizes: as for write_release.

    Returns:
        The number of lists.
    """
    examples = _examples("QPR", seed, sizes or Sizes())["IND", "test"]
    Path(path).write_text(json.dumps([list(example.relevance or ()) for example in examples]), encoding="utf-8")
    return len(examples)


def _check_known(what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown {what} {', '.join(unknown)}: choose out of {', '.join(known)}")


def _write_row(file: TextIO, row: Mapping[str, str | None], separator: str) -> None:
    file.write(separator)
    file.write(json.dumps(row, ensure_ascii=False))


def _catalogue() -> dict[str, dict[str, Any]]:
    text = resources.files("ecellm.tasks").joinpath("instructions.json").read_text(encoding="utf-8")
    tasks: dict[str, dict[str, Any]] = json.loads(text)["tasks"]
    return tasks


def _examples(task: str, seed: int, sizes: Sizes) -> dict[tuple[str, str], list[Example]]:
    """Draw the examples of a task by (domain, split); no two of them have the same input and options."""
    options = _catalogue()[task].get("options", [])
    domains = _DOMAINS if SYNTHETIC_TASKS[task].has_out_of_domain else _DOMAINS[:1]
    seen: set[tuple[str, str | None]] = set()
    examples = {}
    for domain in domains:
        for split in SPLITS if domain == "IND" else ("test",):
            place = [list(SYNTHETIC_TASKS).index(task), _DOMAINS.index(domain), SPLITS.index(split)]
            world = World(np.random.default_rng([seed, *place]), domain, sizes.padding_words)
            count = sizes.of(task, split)
            examples[domain, split] = [_unseen_example(task, world, options, seen) for _ in range(count)]
    return examples


def _unseen_example(task: str, world: World, options: list[str], seen: set[tuple[str, str | None]]) -> Example:
    """Draw until an example is new, and note it in `seen`."""
    for _ in range(_MAX_REDRAWS):
        example = SYNTHETIC_TASKS[task].draw(world, options)
        key = (example.input, example.options)
        if key not in seen:
            seen.add(key)
            return example
    raise ValueError(f"{task}: the made-up world has no more than about {len(seen)} different examples; ask for fewer")


def _task_rows(task: str, seed: int, sizes: Sizes, settings: Sequence[Setting]) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a task, setting by setting."""
    examples = _examples(task, seed, sizes)
    shots = examples["IND", "train"]
    for setting in settings:
        is_test_only = setting.domain == "OOD" or setting.instruction_kind == "unseen" or setting.num_shots
        for split in ("test",) if is_test_only else SPLITS:
            drawn = examples.get((setting.domain, split), [])
            wordings = _wordings(task, setting, split, seed, len(drawn))
            for index, (example, instruction) in enumerate(zip(drawn, wordings, strict=True)):
                shot = shots[index % len(shots)].as_shot() if setting.num_shots and shots else None
                texts = (instruction, example.input, example.options, example.output, shot)
                name = SYNTHETIC_TASKS[task].release_name
                yield dict(zip(_COLUMNS, (split, name, setting.name, *texts), strict=True))


def _wordings(task: str, setting: Setting, split: str, seed: int, count: int) -> list[str]:
    """Return the instruction of each row of a (task, setting, split)."""
    wordings = _catalogue()[task]
    if setting.instruction_kind != "diverse":
        key = "seed" if setting.instruction_kind == "single" else "unseen"
        return [wordings[key]] * count
    place = [list(SYNTHETIC_TASKS).index(task), list(SETTINGS).index(setting.name), SPLITS.index(split)]
    rng = np.random.default_rng([seed, *place])
    return [wordings["diverse"][int(draw)] for draw in rng.integers(len(wordings["diverse"]), size=count)]
