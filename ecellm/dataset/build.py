"""The build stage: samples of ECInstruct from raw sources.

    python -m jobs.build raw_dir=raw output_dir=samples

    raw files ──flows──► ranked examples ──select──► parts ──keys──► duplicates, leaks ──write──► samples, card

Each task has a flow (`ecellm.dataset.builders`) whose steps run as shards on Ray. Which examples become samples
is arithmetic on counts; then their keys are compared, and each part is written for every setting.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from ecellm.config import PAPER_CATEGORIES, BuildConfig, DomainCategories
from ecellm.dataset.builders import extractions, matching, questions, relations, reviews, sequences, shopping
from ecellm.dataset.builders.flow import Context, Flow, Step, run_flows
from ecellm.dataset.builders.plan import (
    ALL_TASKS,
    EQUAL_SHARES,
    LARGER_SHARE_FIRST,
    Builder,
    Built,
    Plan,
    by_task_name,
    sizes_of,
)
from ecellm.dataset.counts import count_lines
from ecellm.dataset.instructions import Instructions, read_catalogue
from ecellm.dataset.marks import gather_marks
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.quality.card import render_card
from ecellm.dataset.quality.contents import match_steps
from ecellm.dataset.quality.keys import key_steps, match_keys
from ecellm.dataset.quality.near_duplicates import near_duplicate_steps
from ecellm.dataset.quality.report import Findings, num_leaks, quality_rows
from ecellm.dataset.selection import Selected, SplitKey, select
from ecellm.dataset.write_samples import write_steps
from ecellm.errors import InputError, find_cause
from ecellm.fingerprint import fingerprint_input, fingerprint_of
from ecellm.redaction import redacted_arguments
from ecellm.resources import check_room, room_for_a_task
from ecellm.schema import QUALITY
from ecellm.sources.amazon_reviews import require
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join
from ecellm.tasks import TASKS, task_named

logger = logging.getLogger(__name__)
BUILDERS: tuple[Builder, ...] = (
    extractions.BUILDER,
    relations.BUILDER,
    matching.BUILDER,
    reviews.BUILDER,
    sequences.BUILDER,
    shopping.BUILDER,
    questions.BUILDER,
)
_BUILDER_OF = {task: builder for builder in BUILDERS for task in builder.tasks}
_ROWS_PER_KEY_BUCKET = 500_000
CARD_NAME = "README.md"


def _tasks(config: BuildConfig) -> list[str]:
    """Return the canonical names of the tasks to build, in the paper's order.

    Raises:
        InputError: a task is unknown, or none is named.
    """
    if config.tasks is None:
        return [task.name for task in TASKS]
    if not config.tasks:
        raise InputError("tasks: name at least one, or leave it out to build all ten")
    wanted = {task_named(name).name for name in config.tasks}
    return [task.name for task in TASKS if task.name in wanted]


def categories_of(config: BuildConfig, task: str) -> DomainCategories | None:
    """Return the categories of a task: its own, those of `all`, or the paper's; None where it has none.

    Raises:
        InputError: categories are given for a task that has none.
    """
    by_task = by_task_name(config.categories, "categories")
    if not _BUILDER_OF[task].has_categories:
        if task in by_task:
            raise InputError(f"categories: {task} has no categories")
        return None
    return by_task.get(task) or config.categories.get(ALL_TASKS) or PAPER_CATEGORIES[task]


def _names(categories: DomainCategories | None) -> tuple[str, ...]:
    return (*categories.in_domain, *categories.out_of_domain) if categories else ()


def _raw_files(config: BuildConfig, storage: Storage, raw_dir: str) -> tuple[list[str], list[str]]:
    """Return the raw files that a build needs, and those that it reads if they are there."""
    needed: dict[str, None] = {}
    optional: dict[str, None] = {}
    for task in _tasks(config):
        builder, names = _BUILDER_OF[task], _names(categories_of(config, task))
        needed |= dict.fromkeys(builder.files(storage, raw_dir, names))
        optional |= dict.fromkeys(builder.optional_files(storage, raw_dir, names))
    return list(needed), list(optional)


def _inputs(config: BuildConfig) -> dict[str, str]:
    inputs = {"raw_dir": absolute(config.raw_dir)}
    if config.instructions:
        inputs["instructions"] = absolute(config.instructions)
    return inputs


def _fingerprint_input(storage: Storage, config: BuildConfig, name: str, path: str) -> str:
    """Of the raw directory only the files that the tasks read count; they are hashed on the cluster."""
    if name != "raw_dir":
        return fingerprint_input(storage, path)
    if not storage.exists(path):
        raise InputError(f"raw_dir {path} is not there, or empty; python -m jobs.fetch brings the raw sources")
    needed, optional = _raw_files(config, storage, path)
    require(storage, needed)
    files = [*needed, *optional]
    check_room(room_for_a_task("build"))  # this comes before all other checks
    digest = ray.remote(Storage.digest)
    digests = ray.get([digest.remote(storage, file) for file in files])
    return fingerprint_of({file.removeprefix(path): own for file, own in zip(files, digests, strict=True)})


def _catalogue(config: BuildConfig, storage: Storage) -> dict[str, Instructions]:
    """Return the instructions of the tasks to build, by canonical name."""
    catalogue = read_catalogue(storage, absolute(config.instructions) if config.instructions else None)
    missing = [name for name in _tasks(config) if task_named(name).short_name not in catalogue]
    if missing:
        raise InputError(
            f"the instruction catalogue has no entry {task_named(missing[0]).short_name!r} for {missing[0]}"
        )
    return {name: catalogue[task_named(name).short_name] for name in _tasks(config)}


def _check(config: BuildConfig, storage: Storage) -> tuple[str, ...]:
    _catalogue(config, storage)
    by_task_name(config.task_sizes, "task_sizes")
    for name in config.categories:
        if name != ALL_TASKS:
            categories_of(config, task_named(name).name)
    raw_dir = absolute(config.raw_dir)
    looks = [
        ray.remote(_BUILDER_OF[task].look).remote(storage, raw_dir, _names(categories_of(config, task)))
        for task in _tasks(config)
    ]
    ray.get(looks)
    return ()


def _context(run: Run[BuildConfig]) -> Context:
    return Context(
        storage_config=run.config.storage.model_dump(),
        raw_dir=absolute(run.config.raw_dir),
        output_dir=run.output_dir,
        seed=run.config.seed,
    )


def _run(run: Run[BuildConfig]) -> Outcome:
    context = _context(run)
    _keep_to_layout(run, context)
    try:
        outcome = _build(run, context)
    except Exception as error:
        if find_cause(error, InputError) and not run.storage.exists(join(run.output_dir, "data")):
            # Of an input that must be mended nothing can be gone on from.
            _remove_staging(run.storage, context)
            run.storage.remove(join(run.output_dir, "quarantine"))
        raise
    _remove_staging(run.storage, context)
    return outcome


def _keep_to_layout(run: Run[BuildConfig], context: Context) -> None:
    """Start over if a killed run cut the work in another way.

    These fields change no row, so they are no part of the fingerprint; but what is staged lies in buckets and turns
    that follow from them, and a step of the one layout must not read what another left.
    """
    layout = {"bucket_bytes": run.config.bucket_bytes, "core_rows": run.config.core_rows}
    path = context.staging("layout.json")
    if run.storage.exists(context.staging()) and (
        not run.storage.exists(path) or run.storage.read_json(path) != layout
    ):
        logger.info("build: a killed run used another bucket_bytes or core_rows; its steps run again")
        _remove_staging(run.storage, context)
    run.storage.write_json(path, layout)


def _remove_staging(storage: Storage, context: Context) -> None:
    """Remove what steps left, first the notes that they are done: killed on the way, they run again."""
    storage.remove(context.staging("steps"))
    storage.remove(context.staging())


def _build(run: Run[BuildConfig], context: Context) -> Outcome:
    config = run.config
    tasks = _tasks(config)
    built = _build_examples(config, context, tasks)
    sets = [own for task in tasks for part in built.values() for own in part.sets if own.task == task]
    chosen = select(
        sets,
        {task: sizes_of(config, task) for task in tasks},
        EQUAL_SHARES,
        LARGER_SHARE_FIRST,
    )
    _require_examples(tasks, chosen, built)
    flow = _finish(config, built, chosen, _catalogue(config, run.storage))
    findings = run_flows({"samples": flow}, context, name="build: samples", num_workers=config.num_workers)["samples"]
    rows = quality_rows(findings)
    table = pa.Table.from_pylist(rows, schema=QUALITY)
    run.storage.write_table(join(run.output_dir, "quality", "data", part_name(0)), table)
    counts = _counts(findings.written)
    card = _card(config, rows, counts, _notes(built))
    run.storage.write_bytes(join(run.output_dir, CARD_NAME), card.encode())
    num_dropped = sum(findings.dropped_leaks.values())
    leaks = {"train row whose input is in a test split": num_dropped} if num_dropped else {}
    return Outcome(
        rows=sum(counts.values()),
        dropped=_dropped(built) | leaks,
        details={"counts": [[p.setting, p.split, p.task, n] for p, n in sorted(counts.items())]},
        summary=(*count_lines(counts), f"dataset card: {join(run.output_dir, CARD_NAME)}"),
    )


def _require_examples(tasks: list[str], chosen: Mapping[SplitKey, Selected], built: Mapping[str, Built]) -> None:
    """Raise `InputError` if a task that was asked for has no in-domain example."""
    missing = [task for task in tasks if not any(key.task == task and key.domain == "IND" for key in chosen)]
    if missing:
        reasons = "; ".join(f"{reason}: {rows:,}" for reason, rows in _dropped(built).items())
        raise InputError(
            f"the raw files give no in-domain example of {', '.join(missing)} (left out: {reasons or 'nothing'}). "
            "Look at the names of its categories, or leave the task out"
        )


def _build_examples(config: BuildConfig, context: Context, tasks: list[str]) -> dict[str, Built]:
    """Run the flows; return what each built, by its tasks' names, joined by commas."""
    flows: dict[str, Flow[Built]] = {}
    for builder in BUILDERS:
        plans = {
            task: Plan(config, context, task, categories_of(config, task)) for task in builder.tasks if task in tasks
        }
        if plans:
            flows[", ".join(plans)] = builder.flow(plans)
    return run_flows(flows, context, name="build", num_workers=config.num_workers)


def _notes(built: Mapping[str, Built]) -> list[str]:
    """Return what a reader should know: what the flows noted, and which categories gave nothing."""
    rows: dict[tuple[str, str], int] = {}
    for own in (own for part in built.values() for own in part.sets):
        if own.category:
            rows[own.task, own.category] = rows.get((own.task, own.category), 0) + own.num_rows
    empty = [f"{task}: category {category} gives no row" for (task, category), count in rows.items() if not count]
    return [*(note for part in built.values() for note in part.notes), *empty]


def _dropped(built: Mapping[str, Built]) -> dict[str, int]:
    """Return what was left out, by task and reason; of a file that two tasks read, its bad lines once."""
    dropped = {f"{task}: {reason}": rows for task, own in built.items() for reason, rows in sorted(own.dropped.items())}
    quarantined = {file: rows for own in built.values() for file, rows in own.quarantined.items()}
    return dropped | ({"line that cannot be read": sum(quarantined.values())} if quarantined else {})


def _finish(
    config: BuildConfig,
    built: Mapping[str, Built],
    chosen: Mapping[SplitKey, Selected],
    catalogue: Mapping[str, Instructions],
) -> Flow[Findings]:
    """Flow: compare the keys of what was chosen, mark repeats and leaks, write the samples, compare their ids.

    Raises:
        InputError: train rows leak and the config says to stop; or every row of a task leaks and is to be removed.
    """
    drops_leaks = config.leakage == "drop"
    number = max(1, -(-sum(own.num_rows for own in chosen.values()) // _ROWS_PER_KEY_BUCKET))
    splits = [list(key) for key in chosen]
    yield key_steps(chosen, number)
    matches = yield [
        Step(f"match_keys/{k:05d}", match_keys, {"bucket": k, "splits": splits, "drops_leaks": drops_leaks})
        for k in range(number)
    ]
    leaks = num_leaks(chosen, matches)
    if config.leakage == "fail":
        _refuse_leaks(leaks)
    if drops_leaks:
        _require_rest(chosen, leaks)
    yield [
        Step(f"marks/{k:05d}", gather_marks, {"split_number": k, "number": number, "drops_leaks": drops_leaks})
        for k in range(len(splits))
    ]
    write = write_steps(chosen, catalogue, number=number, drops_leaks=drops_leaks)
    near = near_duplicate_steps(chosen, config.near_duplicate_rows, drops_leaks=drops_leaks)
    results = yield [*write, *near]
    written = results[: len(write)]
    ids = yield match_steps(splits, number)
    dropped = {k: leaks[key] for k, key in enumerate(chosen) if drops_leaks and key in leaks}
    return Findings(chosen, built, matches, written, results[len(write) :], ids, dropped)


def _require_rest(chosen: Mapping[SplitKey, Selected], leaks: Mapping[SplitKey, int]) -> None:
    emptied = [key.task for key, rows in leaks.items() if rows == chosen[key].num_rows]
    if emptied:
        raise InputError(
            f"leakage=drop removes every train row of {', '.join(emptied)}: all their inputs are in a test split. "
            "Leave the task out, or use leakage=report"
        )


def _refuse_leaks(leaks: Mapping[SplitKey, int]) -> None:
    if leaks:
        shown = ", ".join(f"{key.task} {rows:,}" for key, rows in leaks.items())
        raise InputError(
            f"leakage=fail: train rows whose input is in a test split: {shown}. leakage=drop removes them, "
            "leakage=report only counts them"
        )


def _counts(written: Sequence[Mapping[str, Any]]) -> dict[Partition, int]:
    counts: dict[Partition, int] = {}
    for result in written:
        for *key, rows in result["counts"]:
            partition = Partition(*key)
            counts[partition] = counts.get(partition, 0) + rows
    return counts


def _card(config: BuildConfig, rows: list[dict[str, Any]], counts: Mapping[Partition, int], notes: list[str]) -> str:
    with_categories = {task: own for task in _tasks(config) if (own := categories_of(config, task))}
    categories = "; ".join(
        f"{task_named(task).short_name}: {', '.join(own.in_domain)} | {', '.join(own.out_of_domain) or 'none'}"
        for task, own in with_categories.items()
    )
    return render_card(
        name=f"ECInstruct, {Path(config.output_dir.rstrip('/')).name}",
        rows=rows,
        counts=counts,
        notes=notes,
        config={
            "leakage": config.leakage,
            "near_duplicate_rows": config.near_duplicate_rows,
            "seed": config.seed,
            "categories": categories or "none",
        },
        recipe=" ".join([f"python -m jobs.{Path(sys.argv[0]).stem}", *redacted_arguments(sys.argv[1:])]),
    )


STAGE = Stage(
    job="build",
    version=3,
    config_class=BuildConfig,
    inputs=_inputs,
    check=_check,
    run=_run,
    fingerprint_input=_fingerprint_input,
)
