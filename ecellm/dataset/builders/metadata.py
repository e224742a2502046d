"""Product metadata of a category, staged once for all tasks that need it: by asin, with just the columns they use."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import ExchangeWriter, buckets_of_keys, read_bucket
from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.builders.plan import buckets_of_files
from ecellm.sources.amazon_reviews import (
    OldProduct,
    Product,
    decode_old_product,
    meta_file,
    old_meta_file,
    rating_file,
    related_in_html,
)
from ecellm.sources.records import Quarantine, RecordDecoder, iter_records, look_at_records
from ecellm.storage import Storage

_LEVELS = 2  # category levels that an item's text shows
_BATCH = 8192
_TEXTS = pa.list_(pa.string())
PRODUCTS = pa.schema(
    [
        ("asin", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("levels", _TEXTS),
        ("also_buy", _TEXTS),
        ("also_view", _TEXTS),
        ("similar_item", _TEXTS),
    ]
)
OLD_PRODUCTS = pa.schema([("asin", pa.string()), ("title", pa.string()), ("brand", pa.string())])


def num_item_buckets(context: Context, category: str, bucket_bytes: int) -> int:
    """Return the number of buckets by asin of a category, the same for metadata and ratings."""
    files = [file(context.raw_dir, category) for file in (meta_file, rating_file)]
    storage = context.storage
    return max(buckets_of_files(storage, [file], bucket_bytes) for file in files if storage.exists(file))


def _product_row(product: Product) -> tuple[Any, ...]:
    levels = (product.category or [])[:_LEVELS]
    similar = related_in_html(product.similar_item or "")
    return (product.asin, product.title, product.brand, levels, product.also_buy, product.also_view, similar)


def _old_product_row(product: OldProduct) -> tuple[Any, ...]:
    return (product.asin, product.title, product.brand)


def _batches(rows: Iterator[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.Table]:
    """Make tables of some thousand rows each."""
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield _table(batch, schema)
            batch = []
    if batch:
        yield _table(batch, schema)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def stage_products(context: Context, *, category: str, number: int) -> Result:
    """Step: read a category's metadata in one pass."""
    file = meta_file(context.raw_dir, category)
    quarantine = Quarantine(context.storage, context.quarantine(f"meta-{category}"), file)
    records = iter_records(context.storage, file, RecordDecoder(Product), quarantine)
    rows = (_product_row(product) for _, product in records)
    num_rows = _stage(context, products_dir(context, category), rows, PRODUCTS, number)
    return {"rows": num_rows, "quarantined": {file: quarantine.num_rows}}


def stage_old_products(context: Context, *, category: str, number: int) -> Result:
    """Step: read a category's metadata of 2014 in one pass."""
    file = old_meta_file(context.raw_dir, category)
    quarantine = Quarantine(context.storage, context.quarantine(f"meta-2014-{category}"), file)
    rows = (_old_product_row(old) for _, old in iter_records(context.storage, file, decode_old_product, quarantine))
    num_rows = _stage(context, old_products_dir(context, category), rows, OLD_PRODUCTS, number)
    return {"rows": num_rows, "quarantined": {file: quarantine.num_rows}}


def _stage(context: Context, directory: str, rows: Iterator[tuple[Any, ...]], schema: pa.Schema, number: int) -> int:
    """Send rows to the buckets of their asins; return how many they were."""
    with ExchangeWriter(context.storage, directory, "products", schema, number) as writer:
        for table in _batches(rows, schema):
            writer.add(table, buckets_of_keys(table["asin"], number))
    return writer.num_rows


def look_at_products(storage: Storage, raw_dir: str, categories: Sequence[str]) -> None:
    """Read the first lines of the metadata of some categories."""
    for name in categories:
        look_at_records(storage, meta_file(raw_dir, name), RecordDecoder(Product))


def products_dir(context: Context, category: str) -> str:
    """Return where a category's staged metadata lie."""
    return context.staging("products", category)


def old_products_dir(context: Context, category: str) -> str:
    """Return where a category's staged metadata of 2014 lie."""
    return context.staging("old_products", category)


def products_step(context: Context, category: str, number: int) -> Step:
    """Return the step that stages a category's metadata: the same for every flow that needs it."""
    size = context.storage.size(meta_file(context.raw_dir, category))
    return Step(f"products/{category}", stage_products, {"category": category, "number": number}, cost=size)


def read_products(context: Context, directory: str, bucket: int, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Return the products of one bucket, each asin once."""
    return each_asin_once(read_bucket(context.storage, directory, bucket, schema, columns))


def each_asin_once(table: pa.Table) -> pa.Table:
    """Return the products of a whole bucket without repeats: of repeated asins the last line of the file."""
    places = pa.array(range(table.num_rows), pa.int64())
    last = table.select(["asin"]).append_column("place", places).group_by("asin").aggregate([("place", "max")])
    kept = last["place_max"]
    return table.take(pc.take(kept, pc.array_sort_indices(kept)))
