"""What a stage of the suite is, and how one is carried out.

Every job is a `Stage`: its config, its inputs, a check of everything that can fail before work starts, and the work.
`execute` does for all of them what design asks of each: fingerprint, refusal or resumption, heartbeat, manifest.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray

from ecellm.config import JobConfig, content_of
from ecellm.errors import InputError
from ecellm.fingerprint import MANIFEST_NAME, fingerprint_input, fingerprint_of, part_fingerprint
from ecellm.finished_files import check_contents, check_sizes, describe_files, remove_damaged
from ecellm.manifest import (
    OutputState,
    RunDirectory,
    read_manifest,
    read_state,
    refuse_if_held,
    refuse_if_occupied,
)
from ecellm.node_watch import NodeWatch
from ecellm.resources import Room, check_room, room_for_a_task
from ecellm.storage import Storage, absolute, join

logger = logging.getLogger(__name__)
ConfigT = TypeVar("ConfigT", bound=JobConfig)
FingerprintOf = Callable[[str], str]


@dataclass(frozen=True)
class Run(Generic[ConfigT]):
    """What a stage's work is given.

    Attributes:
        config: the validated config.
        storage: access to all paths.
        output_dir: absolute path or URL of the output directory.
        fingerprint: 64 hex digits; identifies what is being made.
        inputs: fingerprint of each input by name.
    """

    config: ConfigT
    storage: Storage
    output_dir: str
    fingerprint: str
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What a stage made.

    Attributes:
        rows: rows written.
        dropped: rows left out, by reason.
        errors: rows that failed (status `complete_with_errors` if any).
        details: anything else worth keeping in the manifest (counts, figures).
        summary: lines to show the user when the stage is done.
    """

    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    summary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage(Generic[ConfigT]):
    """One job of the suite.

    Attributes:
        job: its name, as in `python -m jobs.<job>`.
        version: raised when the stage's output changes for the same config.
        config_class: its config model.
        inputs: maps the config to its inputs, name -> path or model name.
        check: raises InputError for whatever can be known to fail before work starts; returns lines to show the user.
        run: does the work; may be called again after it was killed, and then goes on.
        fingerprint_input: how an input is fingerprinted: (storage, config, name, path) -> fingerprint.
        room: what the stage's workers need at once; None if it has but tasks.
        task_memory: bytes that its largest task reserves.
    """

    job: str
    version: int
    config_class: type[ConfigT]
    inputs: Callable[[ConfigT], dict[str, str]]
    check: Callable[[ConfigT, Storage], tuple[str, ...]]
    run: Callable[[Run[ConfigT]], Outcome]
    fingerprint_input: Callable[[Storage, ConfigT, str, str], str] = lambda storage, _config, _name, path: (
        fingerprint_input(storage, path)
    )
    room: Callable[[ConfigT], Room | None] = lambda _config: None
    task_memory: float = 0


@dataclass(frozen=True)
class Plan(Generic[ConfigT]):
    """A stage with its config, inputs fingerprinted and output inspected, before anything is done."""

    stage: Stage[ConfigT]
    config: ConfigT
    storage: Storage
    output_dir: str
    identity: Mapping[str, Any]
    fingerprint: str
    state: OutputState


def plan(stage: Stage[ConfigT], config: ConfigT, planned: Mapping[str, str] | None = None) -> Plan[ConfigT]:
    """Fingerprint the inputs and look at the output directory.

    Args:
        stage: the job.
        config: its config.
        planned: fingerprints of directories that earlier stages of a pipeline will have made.

    Raises:
        InputError: an input is missing or not finished, or the store cannot be reached.
    """
    storage = Storage(config.storage)
    output_dir = absolute(config.output_dir)
    storage.check_access(output_dir)
    inputs: dict[str, str] = {}
    for name, path in stage.inputs(config).items():
        known = _planned_fingerprint(planned or {}, path)
        storage.check_access(path)
        inputs[name] = known if known is not None else stage.fingerprint_input(storage, config, name, path)
    identity = {"job": stage.job, "stage_version": stage.version, "inputs": inputs, "config": content_of(config)}
    fingerprint = fingerprint_of(identity)
    state = read_state(storage, output_dir, fingerprint)
    if state == OutputState.DONE and _has_errors_to_retry(storage, output_dir, config):
        state = OutputState.RESUMABLE
    return Plan(stage, config, storage, output_dir, identity, fingerprint, state)


def _has_errors_to_retry(storage: Storage, output_dir: str, config: JobConfig) -> bool:
    if not getattr(config, "retry_errors", False):
        return False
    return read_manifest(storage, output_dir).get("status") == "complete_with_errors"


def _planned_fingerprint(planned: Mapping[str, str], path: str) -> str | None:
    """Return the fingerprint that a directory, or a part of one, will have once its stage has run."""
    if path in planned:
        return planned[path]
    parent, _, name = path.rpartition("/")
    return part_fingerprint(planned[parent], name) if parent in planned else None


def check_plan(planned: Plan[Any], *, comes_next: bool = True, tells: bool = True) -> None:
    """Run every check that comes before the work: a refusal costs nothing and comes first, then the stage's own.

    Args:
        planned: the stage.
        comes_next: whether the work follows; if not, no nodes are asked for.
        tells: whether what the stage's check learned is logged.

    Raises:
        InputError: the directory holds something else or the job's own input, an input is not as it was when it was
            finished, or the stage's check fails.
        OutputHeldError: another run is at work there.
    """
    for name, path in planned.stage.inputs(planned.config).items():
        if f"{path}/".startswith(f"{planned.output_dir}/"):
            raise InputError(f"{name} ({path}) lies in output_dir ({planned.output_dir}): give another output_dir")
    refuse_if_occupied(planned.storage, planned.output_dir, planned.identity, overwrite=planned.config.overwrite)
    refuse_if_held(planned.storage, planned.output_dir)
    if planned.state != OutputState.DONE:
        for name, path in planned.stage.inputs(planned.config).items():
            check_sizes(planned.storage, name, path)
        check_stage_room(planned.stage, planned.config, comes_next=comes_next)
        for line in planned.stage.check(planned.config, planned.storage):
            logger.log(logging.INFO if tells else logging.DEBUG, "%s: %s", planned.stage.job, line)


def check_stage_room(stage: Stage[ConfigT], config: ConfigT, *, comes_next: bool = True) -> None:
    """Raise `InputError` if a task or worker of the stage could never be scheduled: it would wait without a word."""
    workers = stage.room(config)
    rooms = [room_for_a_task(stage.job, memory=stage.task_memory), *([workers] if workers else ())]
    check_room(*rooms, may_ask=comes_next)


def check_room_ahead(stage: Stage[ConfigT], config: ConfigT) -> None:
    """Do `check_stage_room` for a stage whose inputs are still to be made, unless its output is there already.

    A stage that is done is not refused for want of the GPUs that made it. No nodes are asked for: they would wait, and
    cost, until the stage's turn comes.
    """
    storage, output_dir = Storage(config.storage), absolute(config.output_dir)
    storage.check_access(output_dir)
    if not storage.exists(join(output_dir, MANIFEST_NAME)):
        check_stage_room(stage, config, comes_next=False)


def carry_out(planned: Plan[Any]) -> None:
    """Do a planned stage, or say that it is done already.

    Raises:
        InputError: the directory holds something else, or the stage's check fails.
        OutputHeldError: another run is at work there.
    """
    stage, config = planned.stage, planned.config
    if planned.state == OutputState.DONE:
        logger.info("%s: already done in %s, nothing to do", stage.job, planned.output_dir)
        return
    check_plan(planned)  # before the claim, so that bad input leaves no trace
    check_contents(planned.storage, stage.inputs(config))
    directory = RunDirectory.claim(planned.storage, planned.output_dir, planned.identity, overwrite=config.overwrite)
    with directory, NodeWatch():
        logger.info("%s: started, output in %s", stage.job, planned.output_dir)
        start = time.monotonic()
        if planned.state == OutputState.RESUMABLE:
            remove_damaged(planned.storage, planned.output_dir)
        run = Run(config, planned.storage, planned.output_dir, planned.fingerprint, planned.identity["inputs"])
        outcome = stage.run(run)
        seconds = time.monotonic() - start
        files = ray.get(ray.remote(describe_files).remote(planned.storage, planned.output_dir))
        directory.finish(config=config.model_dump(mode="json"), outcome=outcome, files=files, wall_seconds=seconds)
        for line in outcome.summary:
            logger.info("%s: %s", stage.job, line)
        logger.info("%s: done in %.1f s, %s rows in %s", stage.job, seconds, f"{outcome.rows:,}", planned.output_dir)


def execute(stage: Stage[ConfigT], config: ConfigT) -> None:
    """Plan a stage and carry it out."""
    carry_out(plan(stage, config))
