"""Product Relation Prediction: related products as pairs of titles, by two exchanges.

    products by asin ──edges by related asin──► titles of both ──pairs by rank──► one label each, or dropped

The rank of a pair is a hash of its titles, so the second exchange both brings all sightings of a pair together and
puts the pairs in order.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import (
    ExchangeWriter,
    buckets_of_keys,
    buckets_of_ranks,
    num_buckets,
    read_bucket,
)
from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.metadata import (
    PRODUCTS,
    each_asin_once,
    look_at_products,
    num_item_buckets,
    products_dir,
    products_step,
    read_products,
)
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import RANDOM_SPLIT, Columns, RankedSet, buckets_in, ranked_table, write_ranked
from ecellm.dataset.hashing import UIntArray, hash_messages, messages_of, ranks_of_words, spread, words_of
from ecellm.sources.amazon_reviews import meta_file
from ecellm.storage import Storage, join
from ecellm.tasks.product_relation_prediction import LETTERS, RELATIONS, TASK, pair_inputs
from ecellm.tasks.wire_options import options_text

SOURCE = "amazon_review_2018"
_BYTES_OF_A_PAIR = 128
_EDGES = pa.schema([("related", pa.string()), ("asin", pa.string()), ("title", pa.string()), ("relation", pa.int8())])
_PAIRS = pa.schema(
    [
        ("title_1", pa.string()),
        ("title_2", pa.string()),
        ("asins", pa.string()),
        ("relation", pa.int8()),
        ("rank", pa.uint64()),
    ]
)


def list_edges(context: Context, *, category: str, bucket: int, number: int) -> Result:
    """Step: list what each product of a bucket is related to, and send it to the bucket of the related product."""
    columns = ["asin", "title", *RELATIONS]
    lines = read_bucket(context.storage, products_dir(context, category), bucket, PRODUCTS, columns)
    products = each_asin_once(lines)
    with_title = products.filter(pc.greater(pc.fill_null(pc.binary_length(products["title"]), 0), 0))
    with ExchangeWriter(context.storage, context.staging("edges", category), f"{bucket:05d}", _EDGES, number) as writer:
        for place, relation in enumerate(RELATIONS):
            lists = with_title[relation].combine_chunks()
            parents = pc.list_parent_indices(lists)
            related = pc.list_flatten(lists)
            edges = pa.table(
                [
                    related,
                    with_title["asin"].take(parents),
                    with_title["title"].take(parents),
                    pa.array(np.full(len(related), place, np.int8)),
                ],
                _EDGES,
            ).filter(pc.is_valid(related))
            writer.add(edges, buckets_of_keys(edges["related"], number))
    dropped = {
        "product without title": products.num_rows - with_title.num_rows,
        "product line before another of its asin": lines.num_rows - products.num_rows,
    }
    return {"rows": writer.num_rows, "dropped": dropped}


def join_pairs(context: Context, *, category: str, bucket: int, number: int) -> Result:
    """Step: find the titles of the related products of a bucket; send each pair to the bucket of its rank."""
    products = read_products(context, products_dir(context, category), bucket, PRODUCTS, ["asin", "title"])
    edges = read_bucket(context.storage, context.staging("edges", category), bucket, _EDGES)
    found = pc.index_in(edges["related"].combine_chunks(), value_set=products["asin"].combine_chunks())
    other = products["title"].combine_chunks().take(found)
    title = edges["title"].combine_chunks()
    is_pair = pc.and_(
        pc.greater(pc.fill_null(pc.binary_length(other), 0), 0), pc.fill_null(pc.not_equal(title, other), False)
    )
    edges, other = edges.filter(is_pair), other.filter(is_pair)
    pairs = _sorted_pairs(edges, other, context.seed)
    with ExchangeWriter(context.storage, context.staging("pairs", category), f"{bucket:05d}", _PAIRS, number) as writer:
        writer.add(pairs, buckets_of_ranks(pairs["rank"].to_numpy(), number))
    dropped = {"relation to a product that is not in the file, or of the same title": len(is_pair) - pairs.num_rows}
    return {"rows": pairs.num_rows, "dropped": dropped}


def _sorted_pairs(edges: pa.Table, other: pa.Array, seed: int) -> pa.Table:
    """Put the titles of each pair, and their asins, in the order of the titles; rank the pair."""
    title, asin, related = (edges[name].combine_chunks() for name in ("title", "asin", "related"))
    is_first = pc.less(title, other)
    first, second = pc.if_else(is_first, title, other), pc.if_else(is_first, other, title)
    asins = pc.binary_join_element_wise(pc.if_else(is_first, asin, related), pc.if_else(is_first, related, asin), "\t")
    ranks = pair_ranks(first, second, seed)
    return pa.table([first, second, asins, edges["relation"], pa.array(ranks, pa.uint64())], _PAIRS)


def pair_ranks(first: pa.Array, second: pa.Array, seed: int) -> UIntArray:
    """Return the rank of each pair of texts: uint64 [num_pairs], from the hashes of the two."""
    words = [_words(titles) for titles in (first, second)]
    return ranks_of_words(words[0] ^ spread(words[1]), seed, TASK.name)


def _words(titles: pa.Array) -> UIntArray:
    """Return 64 bits of each title's hash; each title is hashed once."""
    encoded = pc.dictionary_encode(titles)
    words = words_of(hash_messages(b"", messages_of(encoded.dictionary)))
    return words[encoded.indices.to_numpy(zero_copy_only=False)] if len(words) else words


def label_pairs(context: Context, *, categories: Sequence[str], bucket: int) -> Result:
    """Step: keep each pair of a bucket once; drop those that are related in more than one way.

    Returns:
        `buckets` by category, as `write_ranked` gives them, `rows`, `dropped`.
    """
    buckets, ambiguous = {}, 0
    for category in categories:
        pairs = read_bucket(context.storage, context.staging("pairs", category), bucket, _PAIRS)
        merged = pairs.group_by(["title_1", "title_2"], use_threads=False).aggregate(
            [("relation", "min"), ("relation", "max"), ("asins", "min"), ("rank", "min")]
        )
        unique = merged.filter(pc.equal(merged["relation_min"], merged["relation_max"])).combine_chunks()
        ambiguous += merged.num_rows - unique.num_rows
        ranks = unique["rank_min"].to_numpy()
        table = ranked_table(TASK.name, _columns(unique), seed=context.seed, category=category, ranks=ranks)
        buckets[category] = write_ranked(context, join(TASK.short_name, category), bucket, table)["bucket"]
    dropped = {"pair related in more than one way": ambiguous}
    return {"buckets": buckets, "rows": sum(rows for _, rows, _ in buckets.values()), "dropped": dropped}


def _columns(pairs: pa.Table) -> Columns:
    first, second, relation, asins = (
        pairs[name].combine_chunks() for name in ("title_1", "title_2", "relation_min", "asins_min")
    )
    return Columns(
        inputs=pair_inputs(first, second),
        outputs=pa.array(list(LETTERS), pa.string()).take(relation),
        options=pa.repeat(pa.scalar(options_text(TASK.short_name), pa.string()), pairs.num_rows),
        source_ids=pc.split_pattern(asins, "\t"),
    )


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: stage the metadata, list edges, join titles, label pairs."""
    plan = plans[TASK.name]
    context, bucket_bytes = plan.context, plan.config.bucket_bytes
    built = Built()
    items = {name: num_item_buckets(context, name, bucket_bytes) for _, name in plan.by_domain}
    item_buckets = [(name, bucket, count) for name, count in items.items() for bucket in range(count)]
    built.count((yield [products_step(context, name, count) for name, count in items.items()]))
    listed = yield [
        Step(f"edges/{name}/{k:05d}", list_edges, {"category": name, "bucket": k, "number": count})
        for name, k, count in item_buckets
    ]
    built.count(listed)
    # The same for all categories: the pooled sample is drawn bucket by bucket.
    number = num_buckets(sum(result["rows"] for result in listed) * _BYTES_OF_A_PAIR, bucket_bytes)
    joined = yield [
        Step(f"pairs/{name}/{k:05d}", join_pairs, {"category": name, "bucket": k, "number": number})
        for name, k, _ in item_buckets
    ]
    built.count(joined)
    labelled = yield [
        Step(f"relations/{k:05d}", label_pairs, {"categories": list(items), "bucket": k}) for k in range(number)
    ]
    built.count(labelled)
    for domain, name in plan.by_domain:
        buckets = buckets_in([{"bucket": result["buckets"][name]} for result in labelled])
        built.sets.append(RankedSet(TASK.name, domain, name, RANDOM_SPLIT, buckets, SOURCE))
    return built


def _files(_storage: Storage, raw_dir: str, categories: Sequence[str]) -> list[str]:
    return [meta_file(raw_dir, name) for name in categories]


BUILDER = Builder((TASK.name,), SOURCE, has_categories=True, files=_files, look=look_at_products, flow=build)
