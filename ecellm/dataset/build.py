"""The build stage: samples of ECInstruct from raw sources.

    python -m jobs.build raw_dir=raw output_dir=samples tasks=[Product_Matching]

Each task has a builder, which reads its raw source and gives examples by split; all settings follow from the examples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from ecellm.config import BuildConfig, Sizes, StorageConfig
from ecellm.dataset.counts import count_lines
from ecellm.dataset.instructions import read_catalogue
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import SAMPLES_ROW_GROUP_ROWS, samples_table
from ecellm.dataset.settings_of_examples import choose, partitions_of, rows_of_partition
from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_input, fingerprint_of
from ecellm.shards import run_shards
from ecellm.sources import amazon_google
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join
from ecellm.tasks import product_matching, task_named
from ecellm.tasks.example import Splits


@dataclass(frozen=True)
class Builder:
    """How one task is built: its raw files, a look at them beforehand, its examples by split, IND and OOD."""

    files: Callable[[str], list[str]]
    check: Callable[[Storage, str], None]
    examples: Callable[[Storage, str], tuple[Splits, Splits]]


def _product_matching(storage: Storage, raw_dir: str) -> tuple[Splits, Splits]:
    return product_matching.build_examples(amazon_google.read(storage, raw_dir)), {}


def _check_product_matching(storage: Storage, raw_dir: str) -> None:
    """Build the examples, which takes a second, and leave them on the node."""
    _product_matching(storage, raw_dir)


BUILDERS: dict[str, Builder] = {
    product_matching.TASK.name: Builder(amazon_google.files, _check_product_matching, _product_matching),
}


def _tasks(config: BuildConfig) -> list[str]:
    """Return the canonical names of the tasks to build, sorted."""
    names = sorted({task_named(name).name for name in config.tasks}) if config.tasks else sorted(BUILDERS)
    unknown = [name for name in names if name not in BUILDERS]
    if unknown:
        raise InputError(f"no builder for {', '.join(unknown)}; tasks that can be built: {', '.join(BUILDERS)}")
    return names


def _inputs(config: BuildConfig) -> dict[str, str]:
    inputs = {"raw_dir": absolute(config.raw_dir)}
    if config.instructions:
        inputs["instructions"] = absolute(config.instructions)
    return inputs


def _fingerprint_input(storage: Storage, config: BuildConfig, name: str, path: str) -> str:
    """Of the raw directory only the files that the tasks read count."""
    if name != "raw_dir":
        return fingerprint_input(storage, path)
    files = [file for task in _tasks(config) for file in BUILDERS[task].files(path)]
    missing = [file for file in files if not storage.exists(file)]
    if missing:
        raise InputError(f"raw files are missing: {', '.join(missing)}. raw_dir must hold them under these names")
    return fingerprint_of({file.removeprefix(path): storage.digest(file) for file in files})


def _check(config: BuildConfig, storage: Storage) -> None:
    catalogue = read_catalogue(storage, absolute(config.instructions) if config.instructions else None)
    for name in _tasks(config):
        if task_named(name).short_name not in catalogue:
            raise InputError(f"the instruction catalogue has no entry {task_named(name).short_name!r} for {name}")
        ray.get(ray.remote(BUILDERS[name].check).remote(storage, absolute(config.raw_dir)))


def _run(run: Run[BuildConfig]) -> Outcome:
    config = run.config
    counts: dict[Partition, int] = {}
    for result in run_shards(
        [{"task": name} for name in _tasks(config)],
        build_task,
        name="build",
        function_args={
            "raw_dir": absolute(config.raw_dir),
            "output_dir": run.output_dir,
            "storage_config": config.storage.model_dump(),
            "instructions": absolute(config.instructions) if config.instructions else None,
            "sizes": config.sizes.model_dump(),
            "seed": config.seed,
        },
    ):
        counts |= {Partition(*key): rows for *key, rows in result["counts"]}
    return Outcome(
        rows=sum(counts.values()),
        details={"counts": [[p.setting, p.split, p.task, n] for p, n in sorted(counts.items())]},
        summary=tuple(count_lines(counts)),
    )


def build_task(
    shard: Mapping[str, Any],
    *,
    raw_dir: str,
    output_dir: str,
    storage_config: Mapping[str, Any],
    instructions: str | None,
    sizes: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Build one task and write its partitions.

    Args:
        shard: `task`, a canonical name.
        raw_dir: where the raw sources are.
        output_dir: the samples directory.
        storage_config: how to reach both.
        instructions: path of a catalogue; None for the project's own.
        sizes: examples to keep of each split, or "all".
        seed: of draws and choices.

    Returns:
        `rows` and `counts` ([setting, split, task, rows]).
    """
    storage = Storage(StorageConfig(**storage_config))
    task = task_named(shard["task"])
    wording = read_catalogue(storage, instructions)[task.short_name]
    limits = Sizes(**sizes).model_dump()
    in_domain, out_of_domain = (
        {split: choose(examples, limits[split], seed) for split, examples in splits.items()}
        for splits in BUILDERS[task.name].examples(storage, raw_dir)
    )
    counts = []
    for partition in partitions_of(task.name, in_domain, out_of_domain):
        rows = list(rows_of_partition(partition, in_domain, out_of_domain, wording, seed))
        path = join(partition.directory(output_dir), part_name(0))
        storage.write_table(path, samples_table(rows), row_group_size=SAMPLES_ROW_GROUP_ROWS)
        counts.append([partition.setting, partition.split, partition.task, len(rows)])
    return {"rows": sum(count[-1] for count in counts), "counts": counts}


STAGE = Stage(
    job="build",
    version=1,
    config_class=BuildConfig,
    inputs=_inputs,
    check=_check,
    run=_run,
    fingerprint_input=_fingerprint_input,
)
