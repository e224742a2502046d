"""The work of a fetch on the nodes: ranges of upstream files to parts, parts to files. Plain functions for Ray tasks.

    raw_dir/_fetch/<name>/source.json     which version of the upstream file the parts belong to
    raw_dir/_fetch/<name>/part-00012      one range, published whole: it is its own marker
    raw_dir/<name>                        the file, once its parts are joined and its checksum is as it should be
    raw_dir/_fetch/<name>.json            its record: url, size, sha256, etag, fetched_at

The record is written just before the file appears, so that a file without its record is always somebody else's. The
parts go last.
"""

import errno
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import IO, Any

from ecellm.errors import InputError
from ecellm.sources.fetch_addresses import Entry, Member
from ecellm.sources.fetch_http import Patience, Upstream, copy_range, copy_whole, look_at
from ecellm.sources.fetch_progress import Reporter
from ecellm.storage import Storage, join

FETCH_DIRECTORY = "_fetch"
_COPY_BYTES = 1 << 20
# A zip can unfold to any size; members whose size is not in the list of addresses are cut off here.
_LARGEST_MEMBER_BYTES = 16 * 1024**3


class _WrongContentError(InputError):
    """What came is not what it should be: its parts are of no use."""


def parts_dir(raw_dir: str, name: str) -> str:
    """Return the directory of a file's parts."""
    return join(raw_dir, FETCH_DIRECTORY, name)


def source_path(raw_dir: str, name: str) -> str:
    """Return the path of the note which version the parts belong to."""
    return join(parts_dir(raw_dir, name), "source.json")


def record_path(raw_dir: str, name: str) -> str:
    """Return the path of the record of a file that was fetched."""
    return join(raw_dir, FETCH_DIRECTORY, f"{name}.json")


def part_spans(upstream: Upstream, chunk_bytes: int) -> list[tuple[int, int] | None]:
    """Return first byte and end of each part; the one part of a server without ranges has none."""
    if not upstream.ranges or upstream.length is None:
        return [None]
    starts = range(0, upstream.length, chunk_bytes)
    return [(start, min(start + chunk_bytes, upstream.length)) for start in starts]


def part_path(raw_dir: str, name: str, index: int) -> str:
    """Return the path of a part."""
    return join(parts_dir(raw_dir, name), f"part-{index:05d}")


def look_at_upstream(shard: Mapping[str, Any], *, patience: Patience) -> dict[str, Any]:
    """Ask for one file: shard {name, url} -> {name, upstream} or {name, problem}."""
    try:
        return {"name": shard["name"], "upstream": asdict(look_at(shard["url"], patience))}
    except InputError as error:
        return {"name": shard["name"], "problem": str(error)}


def fetch_lane(
    shard: Mapping[str, Any], *, storage: Storage, raw_dir: str, patience: Patience, counter: Any
) -> dict[str, Any]:
    """Fetch some parts one after the other.

    A file that cannot be had does not keep the others back: it is passed over from there on, and told.

    Args:
        shard: `parts`, a list of {name, url, upstream, index, span}.
        storage: access to `raw_dir`.
        raw_dir: where the files go.
        patience: how long to keep trying.
        counter: actor that adds up bytes (`ByteCounter`).

    Returns:
        `problems`: message by name of file.
    """
    problems: dict[str, str] = {}
    report = Reporter(counter)
    for part in shard["parts"]:
        if part["name"] in problems or storage.exists(part_path(raw_dir, part["name"], part["index"])):
            continue
        try:
            _fetch_part(part, storage, raw_dir, patience, report)
        except InputError as error:
            problems[part["name"]] = str(error)
    report.finish()
    return {"problems": problems}


def _fetch_part(part: Mapping[str, Any], storage: Storage, raw_dir: str, patience: Patience, report: Reporter) -> None:
    upstream = Upstream(**part["upstream"])
    path = part_path(raw_dir, part["name"], part["index"])
    with _full_disk_told(part["name"]), storage.staged_file(path) as temporary, temporary.open("wb") as target:
        if part["span"] is None:
            copy_whole(part["url"], upstream, target, patience=patience, report=report)
        else:
            copy_range(part["url"], upstream, tuple(part["span"]), target, patience=patience, report=report)


def finish_file(shard: Mapping[str, Any], *, storage: Storage, raw_dir: str) -> dict[str, Any]:
    """Join a file's parts, check it, publish it (or what is taken out of it) and remove the parts.

    Needs room for the file on the node's disk, and little memory.

    Args:
        shard: {entry (as JSON), targets (names to publish), source (the content of source.json)}.
        storage: access to `raw_dir`.
        raw_dir: where the files go.

    Returns:
        {name, records: by name of what was published} or {name, problem}.
    """
    entry = Entry.model_validate(shard["entry"])
    parts = parts_dir(raw_dir, entry.name)
    finish = _finish_zip if entry.member else _finish_plain
    try:
        with _full_disk_told(entry.name):
            records = finish(entry, shard, storage, raw_dir)
    except _WrongContentError as error:
        storage.remove(parts)
        return {"name": entry.name, "problem": str(error)}
    except InputError as error:
        return {"name": entry.name, "problem": str(error)}
    storage.remove(parts)
    return {"name": entry.name, "records": records}


@contextmanager
def _full_disk_told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = tempfile.gettempdir()
        raise InputError(f"{name}: no room left on a node's disk, in raw_dir or {where} (TMPDIR moves it)") from None


def _finish_plain(entry: Entry, shard: Mapping[str, Any], storage: Storage, raw_dir: str) -> dict[str, Any]:
    with storage.staged_file(join(raw_dir, entry.name)) as temporary:
        with temporary.open("wb") as target:
            found = _join_parts(entry, shard["source"], storage, raw_dir, target)
        _check_content(entry, entry.name, found)
        record = _record(shard["source"], found)
        storage.write_json(record_path(raw_dir, entry.name), record)
    return {entry.name: record}


def _finish_zip(entry: Entry, shard: Mapping[str, Any], storage: Storage, raw_dir: str) -> dict[str, Any]:
    records = {}
    with tempfile.TemporaryFile(prefix="ecellm-") as archive_file:
        found = _join_parts(entry, shard["source"], storage, raw_dir, archive_file)
        _check_content(entry, entry.name, found)
        archive_file.seek(0)
        try:
            with zipfile.ZipFile(archive_file) as archive:
                for member in entry.member:
                    if member.name in shard["targets"]:
                        source = {**shard["source"], "archive": found, "member": member.member}
                        records[member.name] = _take_out(archive, member, source, storage, raw_dir)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            raise _WrongContentError(
                f"{shard['source']['upstream']['url']} is no zip that can be read: {error}"
            ) from None
    return records


def _take_out(
    archive: zipfile.ZipFile, member: Member, source: Mapping[str, Any], storage: Storage, raw_dir: str
) -> dict[str, Any]:
    """Publish one member of a zip; return its record."""
    try:
        info = archive.getinfo(member.member)
    except KeyError:
        there = ", ".join(archive.namelist()[:20])
        raise _WrongContentError(f"{source['upstream']['url']} has no member {member.member!r}, but {there}") from None
    limit = _LARGEST_MEMBER_BYTES if member.size is None else member.size
    if info.file_size > limit:
        raise _WrongContentError(f"{member.name}: {info.file_size:,} bytes in the zip, {limit:,} at the most expected")
    with storage.staged_file(join(raw_dir, member.name)) as temporary:
        # zipfile reads no more than file_size and checks the member's CRC.
        with archive.open(info) as reader, temporary.open("wb") as target:
            hasher = sha256()
            found = {"size": _copy(reader, target, hasher), "sha256": hasher.hexdigest()}
        _check_content(member, member.name, found)
        record = _record(source, found)
        storage.write_json(record_path(raw_dir, member.name), record)
    return record


def _join_parts(
    entry: Entry, source: Mapping[str, Any], storage: Storage, raw_dir: str, target: IO[bytes]
) -> dict[str, Any]:
    """Write all parts of a file, in order; return size and sha256."""
    upstream = Upstream(**source["upstream"])
    size, hasher = 0, sha256()
    for index, _ in enumerate(part_spans(upstream, source["chunk_bytes"])):
        with storage.open_read(part_path(raw_dir, entry.name, index)) as reader:
            size += _copy(reader, target, hasher)
    if upstream.length not in {None, size}:
        raise _WrongContentError(f"{entry.name}: the parts hold {size:,} of {upstream.length:,} bytes")
    return {"size": size, "sha256": hasher.hexdigest()}


def _copy(reader: IO[bytes], target: IO[bytes], hasher: Any) -> int:
    """Copy to the end, feeding `hasher`; return the number of bytes."""
    size = 0
    while block := reader.read(_COPY_BYTES):
        target.write(block)
        hasher.update(block)
        size += len(block)
    return size


def _check_content(expected: Entry | Member, name: str, found: Mapping[str, Any]) -> None:
    """Raise if size or checksum is not the one in the list of addresses."""
    for what in ("size", "sha256"):
        wanted = getattr(expected, what)
        if wanted is not None and wanted != found[what]:
            raise _WrongContentError(
                f"{name}: {what} is {found[what]}, but the list of addresses says {wanted}. Nothing was published. If "
                "upstream has a new version that you trust, give a list of your own with addresses="
            )


def _record(source: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    upstream = source["upstream"]
    more = {key: source[key] for key in ("archive", "member") if key in source}
    return {
        "url": upstream["url"],
        **found,
        "etag": upstream["etag"],
        "last_modified": upstream["last_modified"],
        **more,
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
