"""Brings the raw sources and the release from their upstream addresses to a directory or an object store.

    python -m jobs.fetch raw_dir=s3://bucket/raw sources=[amazon_google, shopping_queries]

In goes a list of addresses (`fetch_addresses`), out come the files under the names that build and ingest read, each
with a record of where it came from and its checksum below `raw_dir/_fetch/` (`fetch_parts`). Ranges are fetched by Ray
tasks in parallel and published one by one: a run that was killed goes on and loses at most the ranges in flight.
A file that is there is never replaced, whoever put it there.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from ecellm.config import FetchConfig
from ecellm.errors import InputError
from ecellm.manifest import RunDirectory, refuse_if_held
from ecellm.shards import run_shards
from ecellm.sources.fetch_addresses import Entry, Member, read_addresses, select, shown_url
from ecellm.sources.fetch_http import Patience, Upstream, difference
from ecellm.sources.fetch_parts import (
    FETCH_DIRECTORY,
    fetch_lane,
    finish_file,
    look_at_upstream,
    part_path,
    part_spans,
    parts_dir,
    record_path,
    source_path,
)
from ecellm.sources.fetch_progress import bytes_text, progress_lines
from ecellm.storage import Storage, absolute, join
from ecellm.visible_text import short_repr

logger = logging.getLogger(__name__)
# The same for all fetches: what is held is the directory, whichever files are asked for.
_MOST_TOLD = 4
_IDENTITY = {"job": "fetch", "stage_version": 1, "inputs": {}, "config": {}}


class Standing(StrEnum):
    """What there is of a file below raw_dir."""

    THERE = "already there"
    FOREIGN = "there, but not fetched by this job: left as it is"
    BEGUN = "begun, would go on"
    ABSENT = "to fetch"
    NO_ADDRESS = "not there, and cannot be fetched"


_MISSING = (Standing.BEGUN, Standing.ABSENT)


@dataclass(frozen=True)
class File:
    """An entry of the list and how each of its targets stands, by name."""

    entry: Entry
    standings: Mapping[str, Standing]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the targets that are to be fetched."""
        return tuple(name for name, standing in self.standings.items() if standing in _MISSING)


@dataclass(frozen=True)
class Transfer:
    """A file of which upstream has told its version, and the parts that are still to come."""

    file: File
    source: Mapping[str, Any]
    lacking: tuple[Mapping[str, Any], ...]

    @property
    def length(self) -> int | None:
        """Bytes of the whole file, if known."""
        return Upstream(**self.source["upstream"]).length


def fetch(config: FetchConfig) -> None:
    """Fetch what is missing.

    Raises:
        InputError: files could not be had (the others were fetched), or nothing that was asked for has an address.
        OutputHeldError: another fetch is at work in the same raw_dir.
    """
    storage, raw_dir, files = _look(config)
    for file in files:
        for name, standing in file.standings.items():
            if standing not in _MISSING:
                note = f" ({file.entry.note})" if standing == Standing.NO_ADDRESS else ""
                logger.info("fetch: %s: %s%s", name, standing, note)
    wanted = [file for file in files if file.missing]
    # Of a run that was killed between the last two steps, or of a file that its owner then brought himself.
    stale = [file for file in files if not file.missing and storage.exists(source_path(raw_dir, file.entry.name))]
    if not wanted and not stale:
        _refuse_if_none_has_an_address(files)
        logger.info("fetch: nothing to do in %s", raw_dir)
        return
    with RunDirectory.claim(storage, join(raw_dir, FETCH_DIRECTORY), _IDENTITY, overwrite=False):
        for file in stale:
            storage.remove(parts_dir(raw_dir, file.entry.name))
        problems = _fetch_files(config, storage, raw_dir, wanted)
        if problems:
            for problem in dict.fromkeys(problems.values()):
                logger.error("fetch: %s", problem)
            told = first_problems(problems)
            raise InputError(f"{len(problems)} of {len(wanted)} upstream files could not be fetched: {told}")
    logger.info("fetch: done, %d upstream files fetched to %s", len(wanted), raw_dir)


def first_problems(problems: Mapping[str, str]) -> str:
    """Return the first problems, for a message; all of them have been listed."""
    told = list(dict.fromkeys(problems.values()))
    more = [f"{len(told) - _MOST_TOLD} more, listed above"] if len(told) > _MOST_TOLD else []
    return "; ".join([*told[:_MOST_TOLD], *more])


def dry_run(config: FetchConfig) -> tuple[list[str], dict[str, str]]:
    """Look at everything, upstream too, and write nothing.

    Returns:
        Lines that list each file with address, size, licence and what would be done; and the problems by name.

    Raises:
        InputError: the list of addresses is wrong, or raw_dir cannot be reached.
        OutputHeldError: another fetch is at work in the same raw_dir.
    """
    storage, raw_dir, files = _look(config)
    refuse_if_held(storage, join(raw_dir, FETCH_DIRECTORY))
    once = replace(_patience(config), max_retries=0)
    seen, problems = _ask_upstream([file for file in files if file.missing], once)
    lines = [line for file in files for line in _listing(file, seen, problems)]
    num_missing = sum(bool(file.missing) for file in files)
    return [*lines, f"{num_missing} of {len(files)} upstream files to fetch to {raw_dir}"], problems


def _listing(file: File, seen: Mapping[str, Upstream], problems: Mapping[str, str]) -> list[str]:
    entry = file.entry
    upstream = seen.get(entry.name)
    size = entry.size if upstream is None else upstream.length
    lines = [f"{entry.name} ({entry.source})"]
    tried = f"checked {entry.checked}" if entry.checked else f"unchecked since {entry.unchecked_since}"
    lines.append(f"  address: {f'{shown_url(entry.url)} ({tried})' if entry.url else 'none'}")
    lines.append(f"  size: {bytes_text(size)}; licence: {entry.licence}")
    for name, standing in file.standings.items():
        lines.append(f"  {name if entry.member else 'state'}: {standing}")
    if entry.note:
        lines.append(f"  note: {entry.note}")
    if entry.name in problems:
        lines.append(f"  problem: {problems[entry.name]}")
    return lines


def _look(config: FetchConfig) -> tuple[Storage, str, list[File]]:
    """Return storage, directory, and how each selected file stands."""
    storage, raw_dir = Storage(config.storage), absolute(config.raw_dir)
    storage.check_access(raw_dir)
    entries = select(read_addresses(storage, config.addresses), config.sources)
    return storage, raw_dir, [_file(storage, raw_dir, entry) for entry in entries]


def _file(storage: Storage, raw_dir: str, entry: Entry) -> File:
    standings = {target.name: _standing(storage, raw_dir, entry, target) for target in entry.targets}
    return File(entry, standings)


def _standing(storage: Storage, raw_dir: str, entry: Entry, target: Entry | Member) -> Standing:
    """Look at one file below raw_dir. A record counts only while the file still has the size that it notes."""
    path = join(raw_dir, target.name)
    if not storage.exists(path):
        if entry.url is None:
            return Standing.NO_ADDRESS
        return Standing.BEGUN if storage.exists(source_path(raw_dir, entry.name)) else Standing.ABSENT
    record = record_path(raw_dir, target.name)
    if not storage.exists(record):
        return Standing.FOREIGN
    content = storage.read_json(record)
    if not isinstance(content, dict) or not {"size", "sha256"} <= content.keys():
        raise InputError(f"{record} is damaged: remove it, and {path} if it is not yours, and fetch again")
    if content["size"] != storage.size(path):
        return Standing.FOREIGN
    if target.sha256 is not None and target.sha256 != content["sha256"]:
        raise InputError(
            f"{path} was fetched with sha256 {short_repr(content['sha256'])}, but the list of addresses now says "
            f"{target.sha256}: remove the file to fetch it again"
        )
    return Standing.THERE


def _refuse_if_none_has_an_address(files: Sequence[File]) -> None:
    standings = [standing for file in files for standing in file.standings.values()]
    if all(standing == Standing.NO_ADDRESS for standing in standings):
        notes = dict.fromkeys(f"{file.entry.source}: {file.entry.note}" for file in files)
        raise InputError(f"nothing to fetch: {'; '.join(notes)}")


def _patience(config: FetchConfig) -> Patience:
    return Patience(config.max_retries, config.backoff_seconds, config.timeout_seconds)


def _fetch_files(config: FetchConfig, storage: Storage, raw_dir: str, files: Sequence[File]) -> dict[str, str]:
    """Fetch files; return what went wrong by name."""
    seen, problems = _ask_upstream(files, _patience(config))
    for message in problems.values():
        logger.warning("fetch: %s", message)
    transfers = [
        _begin(storage, raw_dir, file, seen[file.entry.name], config.chunk_bytes)
        for file in files
        if file.entry.name in seen
    ]
    problems |= _transfer(config, storage, raw_dir, transfers)
    whole = [transfer for transfer in transfers if transfer.file.entry.name not in problems]
    return problems | _finish(storage, raw_dir, whole)


def _ask_upstream(files: Sequence[File], patience: Patience) -> tuple[dict[str, Upstream], dict[str, str]]:
    """Look at each file on its server; return what was found, and what went wrong, by name."""
    shards = [{"name": file.entry.name, "url": file.entry.url} for file in files]
    sizes = {file.entry.name: file.entry.size for file in files}
    seen: dict[str, Upstream] = {}
    problems: dict[str, str] = {}
    arguments = {"patience": patience}
    for result in run_shards(shards, look_at_upstream, name="fetch: upstream", function_args=arguments):
        name = result["name"]
        if "problem" in result:
            problems[name] = result["problem"]
            continue
        upstream = Upstream(**result["upstream"])
        if sizes[name] is not None and upstream.length not in {None, sizes[name]}:
            problems[name] = (
                f"{name}: size is {upstream.length}, but the list of addresses says {sizes[name]}. If upstream has a "
                "new version that you trust, give a list of your own with addresses="
            )
        else:
            seen[name] = upstream
    return seen, problems


def _begun(storage: Storage, path: str) -> dict[str, Any] | None:
    """Return what is noted of a file that was begun; None where nothing is, or nothing that can be gone on from."""
    noted: Any = storage.read_json(path) if storage.exists(path) else None
    try:
        upstream = Upstream(**noted["upstream"])
        is_usable = upstream.length is None or isinstance(upstream.length, int)
        return dict(noted) if is_usable and isinstance(noted["chunk_bytes"], int) and noted["chunk_bytes"] > 0 else None
    except (TypeError, KeyError):
        return None


def _begin(storage: Storage, raw_dir: str, file: File, upstream: Upstream, chunk_bytes: int) -> Transfer:
    """Note which version is fetched; parts of another one go. Parts keep the size with which they were begun."""
    name = file.entry.name
    path = source_path(raw_dir, name)
    source: dict[str, Any] = {"upstream": asdict(upstream), "chunk_bytes": chunk_bytes}
    before = _begun(storage, path)
    change = _change(Upstream(**before["upstream"]), upstream) if before else "nothing there"
    if before and not change:
        source = before
    else:
        if before:
            logger.warning("fetch: %s changed upstream (%s): it starts anew", name, change)
        storage.remove(parts_dir(raw_dir, name))
        storage.write_json(path, source)
    upstream = Upstream(**source["upstream"])
    there = set(storage.list_files(parts_dir(raw_dir, name)))
    lacking = tuple(
        {"name": name, "url": file.entry.url, "upstream": source["upstream"], "index": index, "span": span}
        for index, span in enumerate(part_spans(upstream, source["chunk_bytes"]))
        if part_path(raw_dir, name, index) not in there
    )
    return Transfer(file, source, lacking)


def _change(before: Upstream, now: Upstream) -> str | None:
    for what in ("url", "ranges"):
        if getattr(before, what) != getattr(now, what):
            return f"{what} was {getattr(before, what)}, is {getattr(now, what)}"
    return difference(before, now)


def _transfer(config: FetchConfig, storage: Storage, raw_dir: str, transfers: Sequence[Transfer]) -> dict[str, str]:
    """Fetch all parts that are lacking; return what went wrong by name."""
    parts = [part for transfer in transfers for part in transfer.lacking]
    if not parts:
        return {}
    lengths = [transfer.length for transfer in transfers]
    to_come = sum(part["span"][1] - part["span"][0] for part in parts if part["span"])
    to_come += sum(transfer.length or 0 for transfer in transfers if any(not part["span"] for part in transfer.lacking))
    total = None if None in lengths else sum(length or 0 for length in lengths)
    # As many lanes as connections: servers of public data are to be asked gently, however large the cluster is.
    lanes = [
        {"parts": parts[lane :: config.max_connections]} for lane in range(min(config.max_connections, len(parts)))
    ]
    problems: dict[str, str] = {}
    with progress_lines(total, sum(length or 0 for length in lengths) - to_come) as counter:
        arguments = {"storage": storage, "raw_dir": raw_dir, "patience": _patience(config), "counter": counter}
        for result in run_shards(lanes, fetch_lane, name="fetch: lanes", function_args=arguments):
            problems |= result["problems"]
    return problems


def _finish(storage: Storage, raw_dir: str, transfers: Sequence[Transfer]) -> dict[str, str]:
    """Join, check and publish; return what went wrong by name."""
    shards = [
        {
            "entry": transfer.file.entry.model_dump(mode="json"),
            "targets": transfer.file.missing,
            "source": transfer.source,
        }
        for transfer in transfers
    ]
    problems: dict[str, str] = {}
    arguments = {"storage": storage, "raw_dir": raw_dir}
    for result in run_shards(shards, finish_file, name="fetch: files", function_args=arguments):
        if "problem" in result:
            problems[result["name"]] = result["problem"]
        for name, record in result.get("records", {}).items():
            logger.info("fetch: %s: %s, sha256 %s", name, bytes_text(record["size"]), record["sha256"])
    return problems
