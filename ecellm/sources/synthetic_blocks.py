"""The Ray tasks behind the made-up raw files: a block of rows to parts of files, and the parts of a file to the file.

A block is a small dict: `kind`, `category` (a name, or "" where all are meant), `block` (its number), `first` and
`count` (its rows), and for some kinds more. The same block gives the same bytes anywhere.
"""

import gzip
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ecellm.sources.synthetic_catalogue import Catalogue
from ecellm.sources.synthetic_extractions import extraction_lines
from ecellm.sources.synthetic_listings import write_amazon_google
from ecellm.sources.synthetic_products import metadata_lines, shopping_products
from ecellm.sources.synthetic_queries import example_rows
from ecellm.sources.synthetic_questions import question_lines
from ecellm.sources.synthetic_reviews import review_lines
from ecellm.sources.synthetic_size import WorldSize
from ecellm.sources.synthetic_words import CATEGORIES
from ecellm.storage import Storage, join

_KINDS = ("listings", "products", "shopping_products", "reviews", "queries", "questions", "extractions", "malformed")
_ROW_GROUP_ROWS = 50_000
_GZIP_LEVEL = 4
_COPY_BYTES = 1 << 22
# Columns and types of the Shopping Queries files.
_EXAMPLES_SCHEMA = pa.schema(
    [
        ("example_id", pa.int64()),
        ("query", pa.string()),
        ("query_id", pa.int64()),
        ("product_id", pa.string()),
        ("product_locale", pa.string()),
        ("esci_label", pa.string()),
        ("small_version", pa.int64()),
        ("large_version", pa.int64()),
        ("split", pa.string()),
    ]
)
_PRODUCTS_SCHEMA = pa.schema(
    [
        (f"product_{name}", pa.string())
        for name in ("id", "title", "description", "bullet_point", "brand", "color", "locale")
    ]
)
Part = tuple[bytes | pa.Table, int]
"""What a block gives to a file, and how many rows that is."""


def write_block(
    shard: Mapping[str, Any], *, seed: int, size: WorldSize, parts_dir: str, storage: Storage
) -> dict[str, Any]:
    """Write a block's parts (runs in a Ray task).

    Args:
        shard: the block.
        seed: of the world.
        size: of the world.
        parts_dir: where parts go, under the name of their file, the category's place and the block's number.
        storage: how to reach parts_dir.

    Returns:
        `order` (place of the category, number of the block), `rows`, and `parts`: path and rows of the part by file.
    """
    order = [_category_place(shard), shard["block"]]
    parts = {}
    for file, (content, rows) in _BLOCK_WRITERS[shard["kind"]](shard, seed, size).items():
        path = join(parts_dir, f"{file}.{order[0]:02d}.{order[1]:06d}")
        if isinstance(content, bytes):
            storage.write_bytes(path, content)
        else:
            storage.write_table(path, content, row_group_size=_ROW_GROUP_ROWS)
        parts[file] = (path, rows)
    return {"order": order, "rows": sum(rows for _, rows in parts.values()), "parts": parts}


def join_parts(shard: Mapping[str, Any], *, storage: Storage) -> dict[str, Any]:
    """Append a file's parts in order, publish the file, remove the parts (runs in a Ray task).

    Args:
        shard: `file`, `path` of the file, paths of its `parts`, number of its `rows`.
        storage: how to reach them.

    Returns:
        `file`, `rows`.
    """
    if shard["path"].endswith(".parquet"):
        schema = _EXAMPLES_SCHEMA if "examples" in shard["file"] else _PRODUCTS_SCHEMA
        with storage.table_writer(shard["path"], schema) as writer:
            for part in shard["parts"]:
                writer.write_table(storage.read_table(part), row_group_size=_ROW_GROUP_ROWS)
    else:
        with storage.staged_file(shard["path"]) as temporary, temporary.open("wb") as target:
            for part in shard["parts"]:
                with storage.open_read(part) as source:
                    while chunk := source.read(_COPY_BYTES):
                        target.write(chunk)
    for part in shard["parts"]:
        storage.remove(part)
    return {"file": shard["file"], "rows": shard["rows"]}


def _generator(shard: Mapping[str, Any], seed: int, kind: str | None = None) -> np.random.Generator:
    return np.random.default_rng([seed, _KINDS.index(kind or shard["kind"]), _category_place(shard), shard["block"]])


def _category_place(shard: Mapping[str, Any]) -> int:
    return list(CATEGORIES).index(shard["category"]) + 1 if shard["category"] else 0


def _lines_part(
    lines: Sequence[str], shard: Mapping[str, Any], seed: int, malformed_rate: float = 0.0, *, is_gzip: bool = False
) -> Part:
    """Return lines as bytes; at the rate given, a copy cut in half follows a line."""
    written = list(lines)
    if malformed_rate:
        is_cut = _generator(shard, seed, "malformed").random(len(lines)) < malformed_rate
        written = [text for line, cut in zip(lines, is_cut, strict=True) for text in _with_cut_copy(line, is_cut=cut)]
    data = "".join(f"{line}\n" for line in written).encode()
    return (gzip.compress(data, _GZIP_LEVEL, mtime=0) if is_gzip else data), len(lines)


def _with_cut_copy(line: str, *, is_cut: bool) -> tuple[str, ...]:
    return (line, line[: len(line) // 2]) if is_cut else (line,)


def _listings(shard: Mapping[str, Any], seed: int, _size: WorldSize) -> dict[str, Part]:
    with tempfile.TemporaryDirectory(prefix="ecellm-") as scratch:
        counts = write_amazon_google(scratch, seed=seed, num_products=shard["count"])
        return {f"amazon_google/{name}": ((Path(scratch) / name).read_bytes(), rows) for name, rows in counts.items()}


def _catalogue_and_numbers(shard: Mapping[str, Any], seed: int, size: WorldSize) -> tuple[Catalogue, np.ndarray]:
    catalogue = Catalogue(seed, shard["category"], size.products_of(shard["category"]))
    return catalogue, np.arange(shard["first"], shard["first"] + shard["count"])


def _products(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    catalogue, numbers = _catalogue_and_numbers(shard, seed, size)
    as_part = partial(_lines_part, shard=shard, seed=seed, malformed_rate=size.malformed_rate, is_gzip=True)
    lines = metadata_lines(catalogue, numbers, _generator(shard, seed))
    return {
        f"amazon_review_{year}/meta/meta_{catalogue.category}.json.gz": as_part(lines[year]) for year in shard["years"]
    }


def _shopping_products(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    rows = shopping_products(*_catalogue_and_numbers(shard, seed, size), _generator(shard, seed))
    table = pa.Table.from_pylist(rows, _PRODUCTS_SCHEMA)
    return {"shopping_queries/shopping_queries_dataset_products.parquet": (table, len(rows))}


def _reviews(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    catalogue = Catalogue(seed, shard["category"], size.products_of(shard["category"]))
    num_users = max(1, round(shard["count"] * size.num_users / size.num_reviews))
    reviews, ratings = review_lines(catalogue, shard["first"], num_users, shard["count"], _generator(shard, seed))
    return {
        f"amazon_review_2018/review/{catalogue.category}.json.gz": _lines_part(
            reviews, shard, seed, size.malformed_rate, is_gzip=True
        ),
        f"amazon_review_2018/rating/{catalogue.category}.csv": _lines_part(ratings, shard, seed),
    }


def _queries(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    queries = range(shard["first"], shard["first"] + shard["count"])
    rows = example_rows(_catalogues(seed, size), queries, _generator(shard, seed))
    table = pa.Table.from_pylist(rows, _EXAMPLES_SCHEMA)
    return {"shopping_queries/shopping_queries_dataset_examples.parquet": (table, len(rows))}


def _questions(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    lines = question_lines(_catalogues(seed, size), shard["first"], shard["count"], _generator(shard, seed))
    return {f"amazon_qa/{shard['split']}-qar.jsonl": _lines_part(lines, shard, seed, size.malformed_rate)}


def _extractions(shard: Mapping[str, Any], seed: int, size: WorldSize) -> dict[str, Part]:
    are_positive = shard["sign"] == "positives"
    rng = _generator(shard, seed)
    lines = extraction_lines(_catalogues(seed, size), shard["count"], rng, are_positive=are_positive)
    return {f"mave/mave_{shard['sign']}.jsonl": _lines_part(lines, shard, seed, size.malformed_rate)}


def _catalogues(seed: int, size: WorldSize) -> list[Catalogue]:
    return [Catalogue(seed, category, size.products_of(category)) for category in size.categories]


_BLOCK_WRITERS: dict[str, Callable[[Mapping[str, Any], int, WorldSize], dict[str, Part]]] = {
    "listings": _listings,
    "products": _products,
    "shopping_products": _shopping_products,
    "reviews": _reviews,
    "queries": _queries,
    "questions": _questions,
    "extractions": _extractions,
}
