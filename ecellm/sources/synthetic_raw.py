"""Writes a made-up world in all raw formats that the build reads: one consistent set of products, users and queries.

    write_raw_world    all files below raw_dir, or those of some sources; needs a connected Ray

The world is cut into blocks of fixed size. A Ray task writes a block as parts below raw_dir/_parts, drawing from a
generator of its own (seed, kind, category, block), and one more task per file puts the parts together in order (gzip
members and Parquet row groups can be appended). So every byte is fixed by seed and size, whatever the number of
workers, and memory holds a block at a time. What the rows look like, and which quirks of the real files occur how
often, is told in synthetic_products, synthetic_reviews, synthetic_queries, synthetic_questions, synthetic_extractions
and, for Amazon-Google, synthetic_listings.

A file _synthetic.json in the directory of each source holds seed and size: it tells made-up files from real ones, which
are never overwritten.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ecellm.errors import InputError
from ecellm.shards import run_shards
from ecellm.sources.synthetic_blocks import join_parts, write_block
from ecellm.sources.synthetic_size import SOURCES, WorldSize, blocks_of_world
from ecellm.storage import Storage, absolute, join

__all__ = ["SOURCES", "WorldSize", "write_raw_world"]

_MARKER = "_synthetic.json"
_PARTS = "_parts"


def write_raw_world(
    raw_dir: str,
    size: WorldSize,
    *,
    seed: int = 1,
    sources: Sequence[str] = SOURCES,
    storage: Storage | None = None,
) -> dict[str, int]:
    """Write the made-up world; files that the same world has there already are written anew.

    Args:
        raw_dir: directory or URL.
        size: how much is written.
        seed: fixes every byte.
        sources: which sources to write; the files of one do not depend on the others.
        storage: how to reach raw_dir.

    Returns:
        The number of rows by file, its path below raw_dir; cut lines do not count, nor do heads of tables.

    Raises:
        InputError: a source is unknown, or its directory holds other data.
    """
    unknown = sorted(set(sources).difference(SOURCES))
    if unknown or not sources:
        raise InputError(f"unknown source {', '.join(unknown) or 'none'}: choose out of {', '.join(SOURCES)}")
    storage, raw_dir = storage or Storage(), absolute(raw_dir)
    _claim(storage, raw_dir, {"seed": seed, "size": _as_json(size)}, sources)
    parts_dir = join(raw_dir, _PARTS)
    storage.remove(parts_dir)
    arguments = {"seed": seed, "size": size, "parts_dir": parts_dir, "storage": storage}
    blocks = blocks_of_world(size, sources)
    written = list(run_shards(blocks, write_block, name="world", function_args=arguments))
    files = _files(raw_dir, written)
    results = list(run_shards(files, join_parts, name="files", function_args={"storage": storage}))
    storage.remove(parts_dir)
    return {result["file"]: result["rows"] for result in sorted(results, key=lambda result: str(result["file"]))}


def _as_json(size: WorldSize) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(size).items()}


def _claim(storage: Storage, raw_dir: str, world: dict[str, Any], sources: Sequence[str]) -> None:
    """Note the world in the directories of its sources, or refuse those that hold other data."""
    for source in SOURCES:
        directory = join(raw_dir, source)
        marker = join(directory, _MARKER)
        if storage.exists(marker):
            if storage.read_json(marker) != world:
                raise InputError(
                    f"{directory} holds a made-up world of another seed or size: name another directory, or remove it"
                )
        elif source in sources and storage.exists(directory):
            raise InputError(f"{directory} holds data that are not made up: name another directory or other sources")
    for source in sources:
        storage.write_json(join(raw_dir, source, _MARKER), world)


def _files(raw_dir: str, written: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is to be joined: files with their parts in the order of the blocks."""
    parts: dict[str, list[tuple[str, int]]] = {}
    for result in sorted(written, key=lambda result: tuple(result["order"])):
        for file, part in result["parts"].items():
            parts.setdefault(file, []).append(part)
    return [
        {
            "file": file,
            "path": join(raw_dir, file),
            "parts": [path for path, _ in found],
            "rows": sum(rows for _, rows in found),
        }
        for file, found in sorted(parts.items())
    ]
