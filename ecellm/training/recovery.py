"""Which checkpoint a run goes on from: the newest complete one, whatever Ray Train's list of checkpoints says.

    checkpoints/run/checkpoint_manager_snapshot.json     the list, written anew in place when a checkpoint is reported
    checkpoints/run/checkpoint-00000040/                 the checkpoint after step 40
    checkpoints/run/checkpoint-00000040-1/               the same by a later attempt; the first may not be whole

The list is cut off if the controller is killed while it writes it; it lacks a checkpoint that was in the store but not
yet reported; and it may name one that a worker which was taken away left without its shard. So the directories
themselves are looked at. A checkpoint is complete if all files that its state.json names are there, as long as they
were made, and the best weights that it names too: each worker copies its files at its own time, and what is cut off is
shorter. state.json is written once all workers have made their files, so it knows their lengths, and a directory is
written by one attempt only. Damage that changes no length is not noticed here.
"""

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.errors import InputError
from ecellm.storage import Storage, join
from ecellm.training.checkpoint import (
    BEST_DIRECTORY,
    RUN_DIRECTORY,
    STATE_NAME,
    Best,
    Description,
    UnusableError,
    parse_state,
    shard_name,
)

logger = logging.getLogger(__name__)
LIST_NAME = "checkpoint_manager_snapshot.json"
_NAME = re.compile(r"checkpoint-(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Complete:
    """A checkpoint that a run can go on from.

    Attributes:
        name: of its directory.
        step: optimizer steps done.
        best: the best validation until then, None before the first.
    """

    name: str
    step: int
    best: Best | None


@dataclass(frozen=True)
class Found:
    """The checkpoints in the store.

    Attributes:
        complete: those that a run can go on from, oldest first.
        defects: why the others are of no use, by name.
    """

    complete: Sequence[Complete]
    defects: Mapping[str, str]


def order_of(name: str) -> tuple[int, int]:
    """Return the place of a checkpoint's directory in time: its step, and the attempt at it."""
    match = _NAME.fullmatch(name)
    assert match, f"{name} is no directory of ours"
    return int(match[1]), int(match[2] or 0)


def unused_name(found: Found, step: int) -> str:
    """Return a name for a checkpoint's directory that no earlier attempt has left files in."""
    taken = {own.name for own in found.complete} | set(found.defects)
    name, attempt = f"checkpoint-{step:08d}", 0
    while name in taken:
        attempt += 1
        name = f"checkpoint-{step:08d}-{attempt}"
    return name


def find_checkpoints(storage: Storage, checkpoints_dir: str) -> Found:
    """Look at all checkpoints below `checkpoints_dir`; of their files only state.json is read."""
    files = {path.removeprefix(f"{checkpoints_dir}/") for path in storage.list_files(checkpoints_dir)}
    names = {parts[1] for path in files if (parts := path.split("/"))[0] == RUN_DIRECTORY and len(parts) > 2}
    complete, defects = [], {}
    for name in sorted(filter(_NAME.fullmatch, names), key=order_of):
        try:
            description = _examine(storage, checkpoints_dir, name, files)
        except UnusableError as error:
            defects[name] = str(error)
        else:
            complete.append(Complete(name, description.state.step, description.state.best))
    return Found(complete, defects)


def _examine(storage: Storage, checkpoints_dir: str, name: str, files: set[str]) -> Description:
    directory = join(checkpoints_dir, RUN_DIRECTORY, name)
    if f"{RUN_DIRECTORY}/{name}/{STATE_NAME}" not in files:
        raise UnusableError(f"its {STATE_NAME} is missing")
    description = parse_state(storage.read_bytes(join(directory, STATE_NAME)))
    prefix = f"{RUN_DIRECTORY}/{name}/"
    own = {path.removeprefix(prefix) for path in files if path.startswith(prefix)}
    if defect := first_defect(storage, directory, description.sizes, own):
        raise UnusableError(defect)
    if missing := _best_shards(description.state.best) - files:
        raise UnusableError(f"the best weights that it names are not there: {min(missing)}")
    return description


def first_defect(storage: Storage, directory: str, sizes: Mapping[str, int], there: Collection[str]) -> str | None:
    """Return what is missing of a checkpoint, or cut off; None if all of it is there.

    Args:
        storage: access to it.
        directory: the checkpoint.
        sizes: of the files as they were made.
        there: files in the directory, by their paths in it.
    """
    for file, size in sizes.items():
        if file not in there:
            return f"its {file} is missing"
        if (found := storage.size(join(directory, file))) != size:
            return f"its {file} has {found:,} bytes, not {size:,}"
    return None


def _best_shards(best: Best | None) -> set[str]:
    if best is None:
        return set()
    shards = (shard_name(shard, best.num_shards) for shard in range(best.num_shards))
    return {f"{BEST_DIRECTORY}/{best.directory}/{shard}" for shard in shards}


def make_ready(storage: Storage, checkpoints_dir: str, keep: int) -> None:
    """Before a run starts: leave a list that Ray Train can load, or none, and remove what is of no use any more.

    Complete checkpoints that a list lacks are reported again by the workers.

    Args:
        storage: access to the checkpoints.
        checkpoints_dir: where they are.
        keep: newest complete checkpoints to keep.

    Raises:
        InputError: there were checkpoints, and none of them is complete.
    """
    found = find_checkpoints(storage, checkpoints_dir)
    path = join(checkpoints_dir, RUN_DIRECTORY, LIST_NAME)
    complete = [own.name for own in found.complete]
    listed = names_in_list(storage.read_bytes(path)) if storage.exists(path) else []
    if listed is None or set(listed) - set(complete):
        if not complete:
            reason = f"{_reason(path, listed, found)}. No checkpoint is complete"
            raise InputError(f"{reason}: to train from the beginning, remove {checkpoints_dir}")
        logger.warning("%s. Going on from %s", _reason(path, listed, found), complete[-1])
        storage.remove(path)
        listed = []
    for name in {*complete, *found.defects} - {*complete[-keep:], *listed}:
        storage.remove(join(checkpoints_dir, RUN_DIRECTORY, name))


def names_in_list(data: bytes) -> list[str] | None:
    """Return the names of the checkpoints in Ray Train's list, oldest first; None if it cannot be read."""
    try:
        values: Any = json.loads(data)
        return [str(result["checkpoint_dir_name"]) for result in values["checkpoint_results"]]
    except (ValueError, KeyError, TypeError):
        return None


def _reason(path: str, listed: Sequence[str] | None, found: Found) -> str:
    """Say what is wrong with the list, and with the newest checkpoint."""
    complete = {own.name for own in found.complete}
    if listed is None:
        return f"the list of checkpoints {path} cannot be read: the run was killed while it was written"
    name = [own for own in listed if own not in complete][-1]
    return f"{path} names {name}, which is not complete: {found.defects.get(name, 'it is not there')}"
