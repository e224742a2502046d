"""PRP and SA examples with pandas, NumPy and pyarrow: the part of `pandas_build` that reads and computes.

What goes in: Amazon Review metadata and reviews. What comes out: per split an Arrow table of input, options, output, category and
source_ids. Rows are integer codes until their texts are joined in Arrow; a text is escaped, cleaned or cut once for each
distinct value; what no setting shows (the train and val parts of OOD) is not made.
"""

import json
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

Codes = npt.NDArray[np.int64]
SPLITS = ("train", "val", "test")
PRP_OPTIONS = json.dumps(
    [
        "A: Users who buy product 1 may also buy product 2.",
        "B: Users who view product 1 may also view product 2.",
        "C: The product 1 is similar with the product 2.",
    ]
)
SA_ANSWERS = ("E: very negative", "D: negative", "C: neutral", "B: positive", "A: very positive")  # of 1 to 5 stars
SA_OPTIONS = json.dumps(SA_ANSWERS[::-1])
MAX_REVIEWS = 200_000
PAIRS_AT_ONCE = 1_000_000  # bounds the joined texts: an Arrow string array holds 2 GiB

_STRINGS = pa.list_(pa.string())
_PRODUCT = pa.schema(
    [
        ("asin", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("category", _STRINGS),
        ("also_buy", _STRINGS),
        ("also_view", _STRINGS),
        ("similar_item", pa.string()),
    ]
)
_REVIEW = pa.schema(
    [("reviewText", pa.string()), ("overall", pa.float64()), ("asin", pa.string()), ("reviewerID", pa.string())]
)


# ---- Reading


def _json_options(schema: pa.Schema) -> dict[str, Any]:
    """Parse these fields and skip the others; blocks hold the longest line."""
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return {"parse_options": parse, "read_options": pa.json.ReadOptions(block_size=1 << 22)}


def read_products(raw_dir: Path, category: str) -> pa.Table:
    """Read the 2018 metadata of a category; of a repeated asin the last line stays."""
    path = raw_dir / "amazon_review_2018" / "meta" / f"meta_{category}.json.gz"
    with pa.input_stream(str(path), compression="gzip") as stream:
        table = pa.json.read_json(stream, **_json_options(_PRODUCT)).combine_chunks()
    is_repeated = table.column("asin").to_pandas().duplicated(keep="last").to_numpy()
    return table.filter(pa.array(~is_repeated)).combine_chunks() if is_repeated.any() else table


def read_reviews(raw_dir: Path, category: str) -> pa.Table:
    """Read the reviews with text, stars and ten words among the first 200,000 lines."""
    folder = raw_dir / "amazon_review_2018" / "review"
    path = folder / f"{category}.json.gz"
    path = path if path.exists() else folder / f"{category}_5.json.gz"
    batches, num_rows = [], 0
    with pa.input_stream(str(path), compression="gzip") as stream:
        for batch in pa.json.open_json(stream, **_json_options(_REVIEW)):
            batches.append(batch.slice(0, MAX_REVIEWS - num_rows))
            num_rows += len(batch)
            if num_rows >= MAX_REVIEWS:
                break
    table = pa.Table.from_batches(batches, _REVIEW)
    # Three times as fast as to count the spaces, since it stops at the ninth.
    has_ten_words = pc.match_substring_regex(table["reviewText"], "^(?:[^ ]* ){9}")
    return table.filter(pc.and_(has_ten_words, pc.is_valid(table["overall"]))).combine_chunks()


# ---- What the three have in common


def coded(codes: npt.NDArray[Any], names: Sequence[str]) -> pa.DictionaryArray:
    """Make a categorical column."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))


def constant(value: str | None, num_rows: int) -> pa.DictionaryArray:
    """Make a column that holds one value."""
    codes = pa.repeat(pa.scalar(0, pa.int32()), num_rows) if value is not None else pa.nulls(num_rows, pa.int32())
    return pa.DictionaryArray.from_arrays(codes, pa.array([value or ""], pa.string()))


def table_of(text: Any, options: Any, output: Any, category: pa.Array, ids: pa.Array) -> pa.Table:
    """Put examples together."""
    return pa.table({"input": text, "options": options, "output": output, "category": category, "source_ids": ids})


def lists_of(values: pa.Array, *places: Codes) -> pa.Array:
    """Make a list of each row's values, from their places."""
    width, num_rows = len(places), len(places[0])
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, values.take(pa.array(np.stack(places, axis=1).ravel())))


def _split(num_rows: int, domain: str, rng: np.random.Generator) -> dict[str, Codes]:
    """Draw 80/10/10 of the rows; of OOD only the test part is of use."""
    order = rng.permutation(num_rows)
    parts = np.split(order, [num_rows * 8 // 10, num_rows * 9 // 10])
    return {split: part for split, part in zip(SPLITS, parts, strict=True) if domain == "IND" or split == "test"}


def pieces(num_rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, num_rows, size)) if num_rows else iter([slice(0, 0)])


# ---- Sentiment_Analysis


def sentiment_examples(reviews: pa.Table, category: str, domain: str, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Make SA's examples of a category."""
    texts = reviews["reviewText"].combine_chunks()
    stars = reviews["overall"].to_numpy().astype(np.int32)
    all_ids = pa.concat_arrays([reviews["asin"].combine_chunks(), reviews["reviewerID"].combine_chunks()])
    tables = {}
    for split, rows in _split(len(reviews), domain, rng).items():
        size = len(rows)
        tables[split] = table_of(
            texts.take(pa.array(rows)),
            constant(SA_OPTIONS, size),
            coded(stars[rows] - 1, SA_ANSWERS),
            constant(category, size),
            lists_of(all_ids, rows, rows + len(reviews)),
        )
    return tables


# ---- Product_Relation_Prediction


class _Pairs(NamedTuple):
    """Pairs of products: their rows in title order, and their relation."""

    first: Codes
    second: Codes
    relation: Codes


def relation_examples(products: pa.Table, category: str, domain: str, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Make PRP's examples of a category."""
    titles, asins = products["title"].combine_chunks(), products["asin"].combine_chunks()
    pairs = _related_pairs(products, titles, asins)
    splits = _split(len(pairs.relation), domain, rng)
    shown, places = np.unique(
        np.concatenate([side[rows] for rows in splits.values() for side in (pairs.first, pairs.second)]),
        return_inverse=True,
    )
    escaped = pa.array([encode_basestring_ascii(title) for title in titles.take(pa.array(shown)).to_pylist()])
    tables, start = {}, 0
    for split, rows in splits.items():
        places_of_split = places[start : start + 2 * len(rows)].reshape(2, len(rows))
        start += 2 * len(rows)
        text = pa.chunked_array(
            [
                pc.binary_join_element_wise(
                    '{"Product 1:": ',
                    escaped.take(pa.array(places_of_split[0, piece])),
                    ', "Product 2:": ',
                    escaped.take(pa.array(places_of_split[1, piece])),
                    "}",
                    "",
                )
                for piece in pieces(len(rows), PAIRS_AT_ONCE)
            ]
        )
        tables[split] = table_of(
            text,
            constant(PRP_OPTIONS, len(rows)),
            coded(pairs.relation[rows], list("ABC")),
            constant(category, len(rows)),
            lists_of(asins, pairs.first[rows], pairs.second[rows]),
        )
    return tables


def _related_pairs(products: pa.Table, titles: pa.Array, asins: pa.Array) -> _Pairs:
    """Find the pairs of titles that stand in one relation only."""
    coded = titles.dictionary_encode()
    rank_of_code = np.empty(len(coded.dictionary), np.int64)
    rank_of_code[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(coded.dictionary))
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    has_title = pc.fill_null(pc.greater(pc.binary_length(titles), 0), False).to_numpy(zero_copy_only=False)
    rank = np.where(has_title, rank_of_code[codes] if len(rank_of_code) else -1, -1)
    found = []
    for relation, key in enumerate(("also_buy", "also_view", "similar_item")):
        source, target = _edges(products[key].combine_chunks(), asins)
        kept = (rank[source] >= 0) & (rank[target] >= 0) & (rank[source] != rank[target])
        source, target = source[kept], target[kept]
        is_sorted = rank[source] < rank[target]
        first, second = np.where(is_sorted, source, target), np.where(is_sorted, target, source)
        frame = pd.DataFrame({"pair": rank[first] * (len(rank_of_code) + 1) + rank[second], "first": first})
        frame["second"], frame["relation"] = second, relation
        found.append(frame[~frame["pair"].duplicated()])
    pairs = pd.concat(found, ignore_index=True)
    pairs = pairs[~pairs["pair"].duplicated(keep=False)]
    return _Pairs(pairs["first"].to_numpy(), pairs["second"].to_numpy(), pairs["relation"].to_numpy())


def _edges(related: pa.Array, asins: pa.Array) -> tuple[Codes, Codes]:
    """List (row, related row) for the ids that are in the file."""
    is_markup = not pa.types.is_list(related.type)
    if is_markup:
        related = pc.split_pattern(related, "asin")
    source, ids = pc.list_parent_indices(related), pc.list_flatten(related)
    if is_markup:
        ids = pc.utf8_slice_codeunits(ids, 1, 11)
    target = pc.index_in(ids, value_set=asins)
    is_found = pc.is_valid(target)
    return (
        source.filter(is_found).to_numpy(zero_copy_only=False).astype(np.int64),
        target.filter(is_found).to_numpy(zero_copy_only=False).astype(np.int64),
    )
