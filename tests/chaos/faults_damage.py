"""Damage to files: bits flipped, ends cut off."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq


def flip_bit(path: Path) -> None:
    """Flip a bit of the ids in a Parquet file: in the last byte of their first page, which every reader reads."""
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    ids = next(column for column in columns if column.path_in_schema == "sample_id")
    start = ids.dictionary_page_offset or ids.data_page_offset
    _flip(path, start + ids.total_compressed_size - 1, 1)


def flip_any_bit(path: Path, seed: int) -> None:
    """Flip one bit somewhere before the footer of a Parquet file."""
    data, draw = path.read_bytes(), random.Random(seed)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    _flip(path, draw.randrange(4, len(data) - footer), 1 << draw.randrange(8))


def _flip(path: Path, place: int, bits: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    """Keep the first two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def unfinish(directory: Path) -> None:
    """Make a finished output one whose run was killed just before its end."""
    (directory / "_manifest.json").unlink()


def forget_who_made(directory: Path) -> None:
    """Make an output a directory of Parquet as others hand it over, which nothing says anything about."""
    for name in ("_manifest.json", "_run.json"):
        (directory / name).unlink()


def list_again(directory: Path) -> None:
    """Write the sizes that are there into a manifest: whoever damaged the files was thorough."""
    path = directory / "_manifest.json"
    manifest = json.loads(path.read_text())
    for file in manifest["files"]:
        file["size"] = (directory / file["name"]).stat().st_size
    path.write_text(json.dumps(manifest))


def parts_of(directory: Path, *, with_ids: bool = False) -> list[Path]:
    """Return the data files of an output, in order; with_ids: those that have rows with a sample's id."""
    parts = sorted(path for path in directory.rglob("*.parquet") if not path.name.startswith("_"))
    return [path for path in parts if not with_ids or _has_ids(path)]


def _has_ids(path: Path) -> bool:
    metadata = pq.read_metadata(path)
    return metadata.num_rows > 0 and "sample_id" in metadata.schema.names
