"""Sequential Recommendation: the texts of the items that users bought, and the pool of distinct texts.

The pool of a domain lies in files by the hash of the text; text i of the pool is found by its file's place in the
pool and its place in the file. Nobody holds the pool: whoever draws indices from it then collects just those texts,
file by file.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import (
    ExchangeWriter,
    IntArray,
    buckets_of_ranks,
    read_bucket,
    write_staged,
)
from ecellm.dataset.builders.flow import Context, Result
from ecellm.dataset.builders.metadata import OLD_PRODUCTS, PRODUCTS, old_products_dir, products_dir, read_products
from ecellm.dataset.builders.purchases import USED, bucket_of_codes, read_items
from ecellm.dataset.hashing import hash_messages, messages_of, words_of
from ecellm.tasks.sequential_recommendation import item_text, shortened

POOL = pa.schema([("key", pa.uint64()), ("quoted", pa.string())])
TEXTS = pa.schema([("item", pa.int64()), ("asin", pa.string()), ("key", pa.uint64()), ("quoted", pa.string())])
_PLACE_BITS = (1 << 32) - 1


def write_texts(context: Context, *, domain: str, category: str, bucket: int, has_old: bool, number: int) -> Result:
    """Step: make the texts of the items of a bucket that are in anybody's sequence; send them to the pool.

    Args:
        context: of the build.
        domain: IND or OOD, whose pool takes the texts.
        category: product category.
        bucket: of items.
        has_old: whether there are metadata of 2014, for items without title or brand.
        number: buckets of the pool.
    """
    used = np.unique(read_bucket(context.storage, context.staging("used", category), bucket, USED)["item"].to_numpy())
    asins = read_items(context, category, bucket).take(pa.array(used & _PLACE_BITS))
    columns = ["asin", "title", "brand", "levels"]
    staged = read_products(context, products_dir(context, category), bucket, PRODUCTS, columns)
    products = _matching(staged, asins)
    if has_old:
        staged = read_products(context, old_products_dir(context, category), bucket, OLD_PRODUCTS, columns[:3])
        old = _matching(staged, asins)
        titles, brands = ([a or b for a, b in zip(products[n], old[n], strict=True)] for n in ("title", "brand"))
    else:
        titles, brands = products["title"], products["brand"]
    texts = [
        item_text(title, levels or (), brand)
        for title, levels, brand in zip(titles, products["levels"], brands, strict=True)
    ]
    keys = words_of(hash_messages(b"", messages_of(pa.array(texts, pa.string()))))
    quoted = pa.array([repr(shortened(text)) for text in texts], pa.string())
    table = pa.table([pa.array(used), asins, pa.array(keys), quoted], TEXTS)
    write_staged(context.storage, _texts_path(context, category, bucket), table)
    with ExchangeWriter(
        context.storage, context.staging("pool_texts", domain), f"{category}-{bucket:05d}", POOL, number
    ) as writer:
        writer.add(table.select(POOL.names), buckets_of_ranks(keys, number))
    return {"rows": table.num_rows}


def _matching(products: pa.Table, asins: pa.Array) -> dict[str, list[Any]]:
    """Return the columns of the products with these asins, None for an asin that is not there."""
    places = pc.index_in(asins, value_set=products["asin"].combine_chunks())
    return {name: products[name].combine_chunks().take(places).to_pylist() for name in products.column_names}


def _texts_path(context: Context, category: str, bucket: int) -> str:
    return context.staging("texts", category, f"{bucket:05d}.parquet")


def pool_path(context: Context, domain: str, bucket: int) -> str:
    """Return one file of a domain's pool."""
    return context.staging("pool", domain, f"{bucket:05d}.parquet")


def write_pool(context: Context, *, domain: str, bucket: int) -> Result:
    """Step: keep each text of a bucket of the pool once, in the order of its hash."""
    texts = read_bucket(context.storage, context.staging("pool_texts", domain), bucket, POOL)
    # Equal keys are equal full texts, and so equal shortened ones.
    unique = texts.group_by("key", use_threads=False).aggregate([("quoted", "min")]).sort_by("key")
    write_staged(
        context.storage,
        pool_path(context, domain, bucket),
        unique.select(["key", "quoted_min"]).rename_columns(POOL.names),
    )
    return {"rows": unique.num_rows}


class Texts:
    """Texts that one step needs, fetched once, found by number.

    Args:
        numbers: int64 [num_texts], rising.
        table: `key` (64 bits of the full text's hash), `quoted` (repr of the shortened text) and others, by row.
    """

    def __init__(self, numbers: IntArray, table: pa.Table) -> None:
        self._numbers = numbers
        self._table = table.combine_chunks()

    def take(self, column: str, numbers: IntArray) -> pa.Array:
        """Return a column's values for numbers of any shape, flat, in their order."""
        places = pa.array(np.searchsorted(self._numbers, numbers.ravel()))
        return self._table[column].combine_chunks().take(places)


def fetch_items(context: Context, category: str, codes: IntArray) -> Texts:
    """Return the texts of items by code: `asin`, `key`, `quoted`."""
    wanted = np.unique(codes)
    parts = []
    for bucket in np.unique(bucket_of_codes(wanted)):
        table = context.storage.read_table(_texts_path(context, category, int(bucket)))
        own = wanted[bucket_of_codes(wanted) == bucket]
        parts.append(table.take(pa.array(np.searchsorted(table["item"].to_numpy(), own))))
    return Texts(wanted, pa.concat_tables(parts) if parts else TEXTS.empty_table())


def iter_pool(context: Context, domain: str, sizes: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
    """Yield (number of its first text, table of `POOL`) of each file of a pool."""
    start = 0
    for bucket, size in enumerate(sizes):
        if size:
            yield start, context.storage.read_table(pool_path(context, domain, bucket))
        start += size


def fetch_pool(context: Context, domain: str, sizes: Sequence[int], numbers: IntArray) -> Texts:
    """Return the pool's texts of these numbers: `key`, `quoted`; memory holds one file of the pool and what is asked.

    Args:
        context: of the build.
        domain: IND or OOD.
        sizes: texts in each file of the pool.
        numbers: int64, 0 to the pool's size, any shape.
    """
    wanted = np.unique(numbers)
    parts = []
    for start, table in iter_pool(context, domain, sizes):
        first, end = np.searchsorted(wanted, [start, start + table.num_rows])
        if end > first:
            parts.append(table.take(pa.array(wanted[first:end] - start)))
    return Texts(wanted, pa.concat_tables(parts) if parts else POOL.empty_table())
