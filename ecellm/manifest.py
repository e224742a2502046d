"""What made an output directory, and who is making it now.

A run first writes `_run.json` (job, identity, owner, heartbeat) and last `_manifest.json`. No manifest = not done.

    _manifest.json, same fingerprint         done: the job says so and ends
    _run.json, same fingerprint              goes on where it stopped, once nobody else is at work
    either, other fingerprint                refused with the differing fields, unless overwrite
    something else                           refused: the directory is not ours
"""

import json
import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ecellm.errors import InputError, MissingFileError, OutputHeldError, SurroundingsError
from ecellm.fingerprint import (
    MANIFEST_NAME,
    RUN_NAME,
    describe_differences,
    fingerprint_of,
    read_identified,
    read_sections,
)
from ecellm.provenance import git_commit, package_version
from ecellm.redaction import redacted, redacted_arguments
from ecellm.repeated import Repeated
from ecellm.storage import Storage, is_local, join

if TYPE_CHECKING:
    from ecellm.stage import Outcome

logger = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 15.0
TAKEOVER_SECONDS = 60.0
_SETTLE_SECONDS = 0.5
_END_OF_TIME = 1e12  # seconds: a heartbeat beyond it, or Infinity, is none
_MAX_PID = 2**22  # of Linux
_LOST_SIGNAL = signal.SIGUSR1
_RECORDED_PACKAGES = ("ecellm", "ray", "torch", "transformers", "peft", "deepspeed", "pyarrow", "s3fs", "fsspec")


class OutputState(StrEnum):
    """What an output directory holds, seen from a run that wants to write there."""

    ABSENT = "nothing there yet"
    RESUMABLE = "begun by the same configuration; would go on"
    DONE = "done; would be skipped"
    DIFFERENT = "made by another configuration"
    FOREIGN = "holds files that no job of this suite wrote"


def read_state(storage: Storage, output_dir: str, fingerprint: str) -> OutputState:
    """Look at an output directory without changing it."""
    record = read_record(storage, output_dir)
    if record is None:
        if not storage.list_files(output_dir, hidden=True):
            return OutputState.ABSENT
        record = read_record(storage, output_dir)  # of a run that has come since
    if record is None:
        return OutputState.FOREIGN
    if record["fingerprint"] != fingerprint:
        return OutputState.DIFFERENT
    return OutputState.DONE if storage.exists(join(output_dir, MANIFEST_NAME)) else OutputState.RESUMABLE


def read_record(storage: Storage, output_dir: str) -> dict[str, Any] | None:
    """Return the `_run.json` of a directory (it keeps the whole identity), else its manifest, else None."""
    records = (_record_at(storage, join(output_dir, name)) for name in (RUN_NAME, MANIFEST_NAME))
    return next((record for record in records if record), None)


def read_manifest(storage: Storage, directory: str) -> dict[str, Any]:
    """Return the manifest of a directory; nothing where others made it, or its run has not finished."""
    try:
        return read_sections(storage, join(directory, MANIFEST_NAME))
    except MissingFileError:
        return {}


def refuse_if_occupied(storage: Storage, output_dir: str, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Raise `InputError` if the directory holds what this run must not touch."""
    state = read_state(storage, output_dir, fingerprint_of(identity))
    if state == OutputState.FOREIGN:
        raise InputError(
            f"{output_dir} is not empty and was not written by ecellm: give another output_dir (it is never emptied)"
        )
    if state == OutputState.DIFFERENT and not overwrite:
        record = read_record(storage, output_dir) or {}
        old = {key: record.get(key) for key in identity}
        lines = describe_differences(old, dict(identity))
        raise InputError(
            f"{output_dir} was made by another configuration ({'; '.join(lines) or 'damaged record'}). "
            "Give another output_dir, or overwrite=true to replace it"
        )


class RunDirectory:
    """An output directory held by this process: `claim` it, work inside `with`, then `finish` it.

    A thread renews the heartbeat. Leaving the block without `finish` gives the directory back, so that the same
    command can go on at once; a killed process leaves a heartbeat that ages.
    """

    def __init__(self, storage: Storage, output_dir: str, identity: Mapping[str, Any]) -> None:
        self._storage = storage
        self._output_dir = output_dir
        self._identity = dict(identity)
        self._fingerprint = fingerprint_of(identity)
        self._owner = {
            "id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_namespace": _pid_namespace(),
        }
        self._lost: OutputHeldError | None = None
        self._handler_before: Any = None  # of the signal by which the heartbeat stops the work, while that is going on
        self._beats = Repeated(self._beat, HEARTBEAT_SECONDS, "ecellm-heartbeat")

    @classmethod
    def claim(cls, storage: Storage, output_dir: str, identity: Mapping[str, Any], *, overwrite: bool) -> Self:
        """Become the owner of `output_dir`.

        Raises:
            InputError: the directory holds something else.
            OutputHeldError: another run is at work there.
        """
        path = join(output_dir, RUN_NAME)
        before = _record_at(storage, path) or None
        refuse_if_occupied(storage, output_dir, identity, overwrite=overwrite)
        refuse_if_held(storage, output_dir)
        directory = cls(storage, output_dir, identity)
        if read_state(storage, output_dir, directory._fingerprint) == OutputState.DIFFERENT:
            directory._replace(before)
        else:
            directory._take(before, directory._record())
        storage.remove(join(output_dir, MANIFEST_NAME))  # of a run whose failed rows are done again: it is not done now
        return directory

    def _take(self, before: Mapping[str, Any] | None, record: bytes) -> None:
        """Become the owner, by an act that only one of several that come at once succeeds in.

        Args:
            before: the `_run.json` that was there, of nobody at work.
            record: what takes its place.

        Raises:
            OutputHeldError: another was faster.
        """
        path = join(self._output_dir, RUN_NAME)
        if before is not None:
            self._take_over(path, before, record)
        elif not self._create(path, record):
            raise self._taken(_record_at(self._storage, path))
        if not is_local(path):
            time.sleep(_SETTLE_SECONDS)  # of two on a store that knows no exclusive creation, both have written by now
        self._confirm()

    def _take_over(self, path: str, before: Mapping[str, Any], record: bytes) -> None:
        """Write over the record of a run that is gone, under a lock that bears the name of that run."""
        gone = _owner_id(before)
        lock = join(self._output_dir, f".takeover-{gone}")
        if left := _record_at(self._storage, lock):
            _refuse_if_alive(left, self._output_dir)
            self._storage.remove(lock)  # who made it was killed before it could write
        if not self._create(lock, self._record()):
            raise self._taken(_record_at(self._storage, lock))
        try:
            current = _record_at(self._storage, path)
            if _owner_id(current) != gone:
                raise self._taken(current)
            self._storage.write_bytes(path, record)
        finally:
            self._storage.remove(lock)

    def _create(self, path: str, record: bytes) -> bool:
        """Create a file exclusively; tell whether it is ours, even if the answer to a first try was lost on the way."""
        if self._storage.create_exclusively(path, record):
            return True
        return _owner_id(_record_at(self._storage, path)) == self._owner["id"]

    def _replace(self, before: Mapping[str, Any] | None) -> None:
        """Take a directory that another configuration made, and empty it.

        Until it is empty, the record names that configuration: killed on the way, the rest is not taken for ours.
        """
        old = {**(read_record(self._storage, self._output_dir) or {}), "owner": self._owner}
        old = {key: old[key] for key in (*self._identity, "fingerprint", "owner") if key in old}
        logger.warning("overwrite: removing what lies in %s", self._output_dir)
        self._take(before, _as_record({**old, "heartbeat": time.time()}))
        path = join(self._output_dir, RUN_NAME)
        self._storage.remove(join(self._output_dir, MANIFEST_NAME))
        last_beat = time.monotonic()
        # First the notes that steps are done: killed on the way, a run of the old configuration does them again.
        for name in (join("staging", "steps"), "staging"):
            self._storage.remove(join(self._output_dir, name))
        for file in self._storage.list_files(self._output_dir):
            if file != path:
                self._storage.remove(file)
            if time.monotonic() - last_beat > HEARTBEAT_SECONDS:
                self._storage.write_bytes(path, _as_record({**old, "heartbeat": time.time()}))
                last_beat = time.monotonic()
        self._storage.write_bytes(path, self._record())

    def _confirm(self) -> None:
        """Read back who owns the directory."""
        record = _record_at(self._storage, join(self._output_dir, RUN_NAME))
        if _owner_id(record) != self._owner["id"]:
            raise self._taken(record)

    def _taken(self, record: Mapping[str, Any]) -> OutputHeldError:
        owner = record.get("owner", {})
        return OutputHeldError(f"{self._output_dir} was taken by {owner.get('host')} (pid {owner.get('pid')}) just now")

    def _record(self, *, released: bool = False) -> bytes:
        return _as_record(
            {
                **self._identity,
                "fingerprint": self._fingerprint,
                "owner": self._owner,
                "heartbeat": 0.0 if released else time.time(),
            }
        )

    def _beat(self) -> bool:
        try:
            self._confirm()
            self._storage.write_bytes(join(self._output_dir, RUN_NAME), self._record())
        except OutputHeldError as error:
            # Somebody took over, since this machine slept or could not reach the store: two must not write.
            self._lost = error
            if self._handler_before is not None:
                signal.pthread_kill(threading.main_thread().ident or 0, _LOST_SIGNAL)
            return False
        except (InputError, SurroundingsError, OSError) as error:
            # One missed beat does no harm, and `finish` makes sure that the directory is still ours.
            logger.warning("heartbeat in %s failed, trying again: %s", self._output_dir, error)
        return True

    def __enter__(self) -> Self:
        # Not Ctrl-C's signal: what a script starts in the background ignores that one.
        if threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(_LOST_SIGNAL, _interrupt)
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._beats.stop()
        if self._handler_before is not None:
            signal.signal(_LOST_SIGNAL, self._handler_before)
        if self._lost is not None:
            raise self._lost from None
        try:
            self._give_back(error)
        except OutputHeldError:
            return  # it is another run's now: nothing of it may be touched
        except (SurroundingsError, OSError) as another:
            if error is None:
                raise
            # What ended the work is what the user needs to read; the heartbeat ages by itself.
            logger.warning("%s could not be given back: %s", self._output_dir, another)

    def _give_back(self, error: BaseException | None) -> None:
        self._confirm()
        # Who is interrupted may have workers that write on for a moment: what they write should be known as ours.
        if isinstance(error, Exception) and self._is_untouched():
            self._storage.remove(join(self._output_dir, RUN_NAME))
        else:
            self._storage.write_bytes(join(self._output_dir, RUN_NAME), self._record(released=True))

    def _is_untouched(self) -> bool:
        """Tell whether nothing was published: what failed at once, say by bad input, leaves no trace."""
        return self._storage.list_files(self._output_dir) == [join(self._output_dir, RUN_NAME)]

    def finish(
        self,
        *,
        config: Mapping[str, Any],
        outcome: "Outcome",
        files: Sequence[Mapping[str, Any]],
        wall_seconds: float,
    ) -> None:
        """Publish `_manifest.json`: from now on the directory is done.

        Args:
            config: the job's whole config; secrets are taken out here.
            outcome: what the stage made.
            files: name, size and sha256 of each file, as `describe_files` gives them.
            wall_seconds: how long the work took.

        Raises:
            OutputHeldError: another run has taken the directory over.
        """
        self._confirm()
        manifest = {
            "job": self._identity["job"],
            "status": "complete_with_errors" if outcome.errors else "complete",
            "config": redacted(config),
            "fingerprint": self._fingerprint,
            "stage_version": self._identity["stage_version"],
            "inputs": self._identity["inputs"],
            "rows": outcome.rows,
            "dropped": dict(outcome.dropped),
            "errors": outcome.errors,
            "details": dict(outcome.details),
            "files": [dict(file) for file in files],
            "git_commit": git_commit(),
            "packages": {name: package_version(name) for name in _RECORDED_PACKAGES},
            "python": platform.python_version(),
            "command": [Path(sys.argv[0]).name, *redacted_arguments(sys.argv[1:])],
            "wall_seconds": round(wall_seconds, 3),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._storage.write_json(join(self._output_dir, MANIFEST_NAME), manifest)


def _interrupt(*_: object) -> None:
    """Stop the work, wherever it is."""
    raise KeyboardInterrupt


def _as_record(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


def _record_at(storage: Storage, path: str) -> dict[str, Any]:
    """Return a record that another run may make or remove at any time; empty if there is none."""
    try:
        return read_identified(storage, path)
    except MissingFileError:
        return {}


def _owner_id(record: Mapping[str, Any]) -> str:
    return str(record.get("owner", {}).get("id", "unknown"))


def refuse_if_held(storage: Storage, output_dir: str) -> None:
    """Raise `OutputHeldError` if another run is at work in the directory."""
    if record := _record_at(storage, join(output_dir, RUN_NAME)):
        _refuse_if_alive(record, output_dir)


def _refuse_if_alive(record: Mapping[str, Any], output_dir: str) -> None:
    age = time.time() - _heartbeat(record)
    owner = record.get("owner", {})
    if age >= TAKEOVER_SECONDS or _is_dead_here(owner):
        return
    raise OutputHeldError(
        f"{output_dir} is being written by another run ({owner.get('host')}, pid {owner.get('pid')}, heartbeat "
        f"{age:.0f} s ago). Wait for it, or for {TAKEOVER_SECONDS - age:.0f} s if it was killed"
    )


def _heartbeat(record: Mapping[str, Any]) -> float:
    """Return when a run last said that it is at work; 0, long ago, where a damaged record says no time."""
    beat = record.get("heartbeat")
    return float(beat) if isinstance(beat, int | float) and 0 <= beat < _END_OF_TIME else 0.0


def _is_dead_here(owner: Mapping[str, Any]) -> bool:
    """Tell whether the owner was a process of this very machine that no longer runs."""
    pid, here = owner.get("pid"), _pid_namespace()
    if (
        owner.get("host") != socket.gethostname()
        or owner.get("pid_namespace", here) != here
        or not isinstance(pid, int)
    ):
        return False
    if not 0 < pid <= _MAX_PID:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _pid_namespace() -> str | None:
    """Return what tells apart containers that share a host's name and do not see each other's processes."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
