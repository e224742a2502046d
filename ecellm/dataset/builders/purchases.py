"""Sequential Recommendation, first half: from ratings to the purchases of users that survive the 5-core.

    ratings by item ──► without repeated lines and unknown items ──by user──► 5-core ──► sequences in rank order

A rating travels as numbers: an item's code is its bucket and its place there, a user's too. The 5-core (Seidman 1983's
k-core, on users and items) is unique, so the order of peeling does not matter: buckets of items and of users take
turns until the rest of a category fits one process, which peels it to the end.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ecellm.dataset.builders.exchange import (
    ExchangeWriter,
    IntArray,
    buckets_of_keys,
    buckets_of_ranks,
    read_bucket,
    write_staged,
)
from ecellm.dataset.builders.flow import Context, Result
from ecellm.dataset.builders.metadata import PRODUCTS, products_dir
from ecellm.dataset.hashing import UIntArray, hash_messages, messages_of, ranks_of_words, text_bytes, words_of
from ecellm.errors import InputError
from ecellm.sources.amazon_reviews import decode_rating, rating_file
from ecellm.sources.lines import MAX_LINE_BYTES, open_lines
from ecellm.sources.records import Quarantine
from ecellm.tasks.sequential_recommendation import MAX_PURCHASES, TASK

CORE = 5
_BLOCK_BYTES = 16 << 20
_CODE_BITS = 32
_RATING_COLUMNS = ("item", "user", "rating", "time")
RATINGS = pa.schema([*((name, pa.string()) for name in _RATING_COLUMNS), ("line", pa.int64())])
EDGES = pa.schema(
    [("user", pa.string()), ("rank", pa.uint64()), ("item", pa.int64()), ("time", pa.int64()), ("line", pa.int64())]
)
PEELED = pa.schema([("user", pa.int64()), ("item", pa.int64()), ("time", pa.int64()), ("line", pa.int64())])
USED = pa.schema([("item", pa.int64())])
Places = npt.NDArray[np.int32]


def bucket_of_codes(codes: IntArray) -> IntArray:
    """Return the bucket in which the items or users of these codes are."""
    return codes >> _CODE_BITS


def _codes(bucket: int, places: IntArray) -> IntArray:
    return (np.int64(bucket) << _CODE_BITS) | places


def stage_ratings(context: Context, *, category: str, number: int) -> Result:
    """Step: read a category's ratings in blocks and send them to the buckets of their items."""
    file = rating_file(context.raw_dir, category)
    quarantine = Quarantine(context.storage, context.quarantine(f"ratings-{category}"), file)
    with ExchangeWriter(context.storage, context.staging("ratings", category), "ratings", RATINGS, number) as writer:
        for table in _rating_blocks(context, file, quarantine):
            writer.add(table, buckets_of_keys(table["item"], number))
    quarantine.flush()
    if not writer.num_rows:
        raise InputError(f"{file}: no line is a rating (item,user,rating,timestamp); is it the right file?")
    return {"rows": writer.num_rows, "quarantined": {file: quarantine.num_rows}}


def _rating_blocks(context: Context, file: str, quarantine: Quarantine) -> Any:
    """Yield tables of `RATINGS`, 16 MiB of lines at a time."""
    first_line = 1
    with open_lines(context.storage, file) as handle:
        while block := handle.read(_BLOCK_BYTES):
            block += (rest := handle.readline(MAX_LINE_BYTES))
            if len(rest) >= MAX_LINE_BYTES:
                raise InputError(f"{file}: a line behind line {first_line} is longer than {MAX_LINE_BYTES >> 20} MiB")
            table, num_lines = _read_block(block, first_line, quarantine)
            first_line += num_lines
            yield table


def _read_block(block: bytes, first_line: int, quarantine: Quarantine) -> tuple[pa.Table, int]:
    """Read a block of lines by Arrow's reader; line by line if one of them is not a rating."""
    num_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(block),
            read_options=pa_csv.ReadOptions(column_names=list(_RATING_COLUMNS), use_threads=False),
            parse_options=pa_csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(_RATING_COLUMNS, pa.string()), strings_can_be_null=False
            ),
        )
        has_time = pc.all(pc.match_substring_regex(table["time"], r"^\d{1,18}$")).as_py()
        has_all = all(pc.min(pc.binary_length(table[name])).as_py() for name in _RATING_COLUMNS)
        is_whole = table.num_rows == num_lines and has_time and has_all
    except pa.ArrowInvalid:
        is_whole = False
    if is_whole:
        lines = pa.array(range(first_line, first_line + num_lines), pa.int64())
        return table.append_column("line", lines).cast(RATINGS), num_lines
    return _read_lines(block, first_line, quarantine), num_lines


def _read_lines(block: bytes, first_line: int, quarantine: Quarantine) -> pa.Table:
    rows = []
    for line_number, line in enumerate(block.removesuffix(b"\n").split(b"\n"), first_line):
        try:
            rating = decode_rating(line)
        except ValueError as error:
            if line.strip():
                quarantine.add(line, str(error), row_number=line_number - 1, line_number=line_number)
            continue
        rows.append((rating.item, rating.user, rating.stars, rating.time, line_number))
    columns: Any = zip(*rows, strict=True) if rows else [[] for _ in RATINGS]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, RATINGS, strict=True)], RATINGS)


def send_to_users(context: Context, *, category: str, bucket: int, number: int) -> Result:
    """Step: of one bucket's items keep those with metadata and five ratings; send the ratings to their users.

    Lines that repeat exactly count once. An item's code is its place among the bucket's items, sorted.
    """
    ratings = read_bucket(context.storage, context.staging("ratings", category), bucket, RATINGS)
    products = read_bucket(context.storage, products_dir(context, category), bucket, PRODUCTS, ["asin"])
    unique = ratings.group_by(list(_RATING_COLUMNS)).aggregate([("line", "min")])
    known = unique.filter(pc.is_in(unique["item"], value_set=pc.unique(products["asin"])))
    items = pc.unique(known["item"]).sort()
    places = np.asarray(pc.index_in(known["item"].combine_chunks(), value_set=items), dtype=np.int64)
    is_kept = _counts_of(places) >= CORE
    kept, places = known.filter(pa.array(is_kept)), places[is_kept]
    users = pc.dictionary_encode(kept["user"].combine_chunks())
    hashes = words_of(hash_messages(text_bytes(category), messages_of(users.dictionary)))
    ranks = ranks_of_words(hashes, context.seed, TASK.name)[np.asarray(users.indices)]
    edges = pa.table(
        [
            kept["user"], pa.array(ranks, pa.uint64()), pa.array(_codes(bucket, places)),
            kept["time"].cast(pa.int64()), kept["line_min"],
        ],
        EDGES,
    )  # fmt: skip
    with ExchangeWriter(
        context.storage, context.staging("ratings_by_user", category), f"{bucket:05d}", EDGES, number
    ) as writer:
        writer.add(edges, buckets_of_ranks(ranks, number))
    write_staged(context.storage, _items_path(context, category, bucket), pa.table({"asin": items}))
    dropped = {
        "rating line repeated": ratings.num_rows - unique.num_rows,
        "rating of an item without metadata": unique.num_rows - known.num_rows,
        "rating outside the 5-core": known.num_rows - edges.num_rows,
    }
    return {"rows": edges.num_rows, "dropped": dropped}


def _items_path(context: Context, category: str, bucket: int) -> str:
    return context.staging("items", category, f"{bucket:05d}.parquet")


def read_items(context: Context, category: str, bucket: int) -> pa.Array:
    """Return the asins of a bucket's items by place."""
    return context.storage.read_table(_items_path(context, category, bucket))["asin"].combine_chunks()


def _counts_of(places: IntArray) -> IntArray:
    """Return for each row how many rows have its place."""
    return np.bincount(places)[places] if len(places) else np.zeros(0, np.int64)


def number_users(context: Context, *, category: str, bucket: int, number: int) -> Result:
    """Step: of one bucket's users keep those with five ratings; number them in the order of their ranks.

    The ratings that are left are sent to the buckets of their items, where peeling may go on.
    """
    edges = read_bucket(context.storage, context.staging("ratings_by_user", category), bucket, EDGES)
    users = (
        edges.group_by("user").aggregate([("rank", "min")]).sort_by([("rank_min", "ascending"), ("user", "ascending")])
    )
    places = np.asarray(
        pc.index_in(edges["user"].combine_chunks(), value_set=users["user"].combine_chunks()), dtype=np.int64
    )
    is_kept = _counts_of(places) >= CORE
    kept = edges.filter(pa.array(is_kept))
    peeled = pa.table([pa.array(_codes(bucket, places[is_kept])), kept["item"], kept["time"], kept["line"]], PEELED)
    write_staged(context.storage, _users_path(context, category, bucket), users)
    _send_peeled(context, peeled, "item", directory=peeled_dir(context, category, 0), bucket=bucket, number=number)
    left_out = edges.num_rows - kept.num_rows
    dropped = {"rating outside the 5-core": left_out}
    return {"rows": peeled.num_rows, "left_out": left_out, "dropped": dropped}


def _users_path(context: Context, category: str, bucket: int) -> str:
    return context.staging("users", category, f"{bucket:05d}.parquet")


def peeled_dir(context: Context, category: str, turn: int) -> str:
    """Return where the ratings lie that are left after a turn of peeling."""
    return context.staging("peeled", category, f"{turn:03d}")


def _send_peeled(context: Context, peeled: pa.Table, to: str, *, directory: str, bucket: int, number: int) -> None:
    """Send ratings to the buckets of their other side: peeling users is followed by peeling items."""
    with ExchangeWriter(context.storage, directory, f"{bucket:05d}", PEELED, number) as writer:
        writer.add(peeled, bucket_of_codes(peeled[to].to_numpy()))


def peel(context: Context, *, category: str, bucket: int, side: str, turn: int, number: int) -> Result:
    """Step: drop the items (or users) of a bucket that have fewer than five ratings left; pass on the rest."""
    edges = read_bucket(context.storage, peeled_dir(context, category, turn - 1), bucket, PEELED)
    codes, places = np.unique(edges[side].to_numpy(), return_inverse=True)
    kept = edges.filter(pa.array(np.bincount(places, minlength=len(codes))[places] >= CORE)) if len(codes) else edges
    to = "item" if side == "user" else "user"
    directory = peeled_dir(context, category, turn)
    _send_peeled(context, kept, to, directory=directory, bucket=bucket, number=number)
    left_out = edges.num_rows - kept.num_rows
    dropped = {"rating outside the 5-core": left_out}
    return {"rows": kept.num_rows, "left_out": left_out, "dropped": dropped}


def finish_core(context: Context, *, category: str, turn: int, num_buckets: int) -> Result:
    """Step: peel a whole category to the end in memory (some 40 bytes a rating); send the rest to the users' buckets.

    Args:
        context: of the build.
        category: product category.
        turn: the last turn's number; its ratings are read.
        num_buckets: of items, and of users.
    """
    storage, source = context.storage, peeled_dir(context, category, turn)
    alive = core_of(*(_places_on(context, source, side, num_buckets) for side in ("user", "item")))
    start = 0
    for bucket in range(num_buckets):
        rows = read_bucket(storage, source, bucket, PEELED)
        is_kept = alive[start : start + rows.num_rows]
        start += rows.num_rows
        rows = rows.filter(pa.array(is_kept))
        target = peeled_dir(context, category, turn + 1)
        with ExchangeWriter(storage, target, f"{bucket:05d}", PEELED, num_buckets) as writer:
            writer.add(rows, bucket_of_codes(rows["user"].to_numpy()))
    left_out = int(len(alive) - alive.sum())
    dropped = {"rating outside the 5-core": left_out}
    return {"rows": int(alive.sum()), "dropped": dropped}


def _places_on(context: Context, directory: str, side: str, num_buckets: int) -> Places:
    """Return the user (or item) of every rating of a category, numbered from 0: int32 [num_ratings]."""
    parts = [read_bucket(context.storage, directory, k, PEELED, [side])[side].to_numpy() for k in range(num_buckets)]
    return np.unique(np.concatenate(parts), return_inverse=True)[1].astype(np.int32)


def core_of(users: Places, items: Places) -> npt.NDArray[np.bool_]:
    """Return which ratings are in the 5-core: bool [num_ratings].

    Args:
        users: int32 [num_ratings], numbers from 0.
        items: int32 [num_ratings], numbers from 0.
    """
    alive = np.ones(len(users), bool)
    rows = np.arange(len(users), dtype=np.int32)
    is_stable = False
    while not is_stable:
        is_stable = True
        for side in (users, items):
            places = side[rows]
            is_kept = np.bincount(places, minlength=1)[places] >= CORE if len(rows) else np.zeros(0, bool)
            if not is_kept.all():
                is_stable = False
                alive[rows[~is_kept]] = False
                rows = rows[is_kept]
    return alive


def order_purchases(context: Context, *, category: str, bucket: int, turn: int, num_item_buckets: int) -> Result:
    """Step: put each user's purchases in order of time (then of lines), the first 50; note which items they name."""
    edges = read_bucket(context.storage, peeled_dir(context, category, turn), bucket, PEELED)
    edges = edges.sort_by([("user", "ascending"), ("time", "ascending"), ("line", "ascending")])
    codes, starts, counts = np.unique(edges["user"].to_numpy(), return_index=True, return_counts=True)
    counts, num_purchases = np.minimum(counts, MAX_PURCHASES), int(counts.sum())
    offsets = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
    items = edges["item"].to_numpy()[rows]
    users = context.storage.read_table(_users_path(context, category, bucket))
    places = pa.array(codes & ((1 << _CODE_BITS) - 1))
    sequences = pa.table(
        {
            "user": users["user"].take(places),
            "rank": users["rank_min"].take(places),
            "items": pa.LargeListArray.from_arrays(offsets.astype(np.int64), pa.array(items)),
        }
    )
    write_staged(context.storage, sequences_path(context, category, bucket), sequences)
    used = pa.table({"item": np.unique(items)}, USED)
    with ExchangeWriter(
        context.storage, context.staging("used", category), f"{bucket:05d}", USED, num_item_buckets
    ) as writer:
        writer.add(used, bucket_of_codes(used["item"].to_numpy()))
    dropped = {f"purchase behind a user's first {MAX_PURCHASES}": num_purchases - len(items)}
    return {"rows": sequences.num_rows, "dropped": dropped}


def sequences_path(context: Context, category: str, bucket: int) -> str:
    """Return the file of a bucket's users with their items, in the order of ranks."""
    return context.staging("sequences", category, f"{bucket:05d}.parquet")


def read_sequences(context: Context, category: str, bucket: int) -> tuple[pa.Array, UIntArray, IntArray, IntArray]:
    """Return a bucket's users, their ranks (uint64), offsets into the items, and the items' codes."""
    table = context.storage.read_table(sequences_path(context, category, bucket)).combine_chunks()
    lists = table["items"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) and lists.num_chunks else lists
    offsets = np.asarray(lists.offsets, dtype=np.int64) if table.num_rows else np.zeros(1, np.int64)
    users = table["user"].combine_chunks()
    return users, table["rank"].to_numpy(), offsets, np.asarray(lists.values, dtype=np.int64)
