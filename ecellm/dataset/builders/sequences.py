"""Sequential Recommendation, second half: examples from purchases.

Each user gives a history, the product bought next, and 19 others drawn from the domain's pool: 22 different numbers
are drawn by hash, their texts fetched, and the user's last three purchases left out, so that the cost of a draw does
not depend on the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders import similar
from ecellm.dataset.builders.exchange import IntArray, staged_writer
from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.item_texts import Texts, fetch_items, fetch_pool, write_pool, write_texts
from ecellm.dataset.builders.metadata import (
    look_at_products,
    num_item_buckets,
    products_step,
    stage_old_products,
)
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.purchases import (
    finish_core,
    number_users,
    order_purchases,
    peel,
    read_sequences,
    send_to_users,
    stage_ratings,
)
from ecellm.dataset.builders.ranked import (
    RANDOM_SPLIT,
    RANKED,
    Columns,
    RankedSet,
    buckets_in,
    given_split,
    ranked_table,
)
from ecellm.dataset.hashing import UIntArray, spread
from ecellm.dataset.shares import limited, ranges_of_shares
from ecellm.errors import InputError
from ecellm.settings import SPLITS
from ecellm.sources.amazon_reviews import decode_rating, meta_file, old_meta_file, rating_file
from ecellm.sources.records import look_at_records
from ecellm.storage import Storage
from ecellm.tasks.sequential_recommendation import LETTERS, NUM_CANDIDATES, ORDINALS, TASK, list_reprs

SOURCE = "amazon_review_2018"
_LAST = 3
_NUM_DRAWS = NUM_CANDIDATES - 1 + _LAST
# Where the target of a split stands from the end of a user's purchases (leave-one-out).
_TARGETS = {"train": 3, "val": 2, "test": 1}
_USERS_AT_A_TIME = 4000
_LETTERS = pa.array(list(LETTERS), pa.string())
_ORDINALS = pa.array(ORDINALS, pa.string())


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: stage, peel to the 5-core, order, texts, pool, examples."""
    plan = plans[TASK.name]
    built = Built()
    numbers = {name: num_item_buckets(plan.context, name, plan.config.bucket_bytes) for _, name in plan.by_domain}
    has_old = yield from _stage(plan, built, numbers)
    turns = yield from _peel(plan, built, numbers)
    counts = yield from _order(numbers, turns)
    pools = yield from _write_pools(plan, numbers, has_old)
    for domain, sizes in pools.items():
        if sum(sizes) < _NUM_DRAWS:
            raise InputError(
                f"{TASK.name}: the {domain} categories leave {sum(sizes)} different items after the 5-core, and "
                f"{NUM_CANDIDATES} candidates need {_NUM_DRAWS}: give more ratings or other categories, or leave "
                "the task out"
            )
    yield from _make_examples(plan, built, counts, pools)
    return built


def _stage(plan: Plan, built: Built, numbers: Mapping[str, int]) -> Flow[dict[str, bool]]:
    """Read the raw files; return which categories have metadata of 2014."""
    context, storage = plan.context, plan.context.storage
    has_old = {name: storage.exists(old_meta_file(context.raw_dir, name)) for name in numbers}
    steps = []
    for name, number in numbers.items():
        arguments = {"category": name, "number": number}
        cost = storage.size(rating_file(context.raw_dir, name))
        steps += [products_step(context, name, number), Step(f"ratings/{name}", stage_ratings, arguments, cost=cost)]
        if has_old[name]:
            cost = storage.size(old_meta_file(context.raw_dir, name))
            steps.append(Step(f"old_products/{name}", stage_old_products, arguments, cost=cost))
    built.count((yield steps))
    missing = [name for name, there in has_old.items() if not there]
    if missing:
        built.notes.append(f"no metadata of 2014 for {', '.join(missing)}: titles and brands have no fallback there")
    return has_old


def _buckets(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, bucket) for name, number in numbers.items() for bucket in range(number)]


def _peel(plan: Plan, built: Built, numbers: Mapping[str, int]) -> Flow[dict[str, int]]:
    """Peel all categories to their 5-cores; return the turn after which each is done (ratings by user)."""
    keys = _buckets(numbers)
    arguments = [{"category": name, "bucket": k, "number": numbers[name]} for name, k in keys]
    for label, function in (("by_user", send_to_users), ("users", number_users)):
        results = yield [
            Step(f"{label}/{name}/{k:05d}", function, values) for (name, k), values in zip(keys, arguments, strict=True)
        ]
        built.count(results)
    left = _rows_by_category(keys, results)
    turns = dict.fromkeys(numbers, 0)
    stable: set[str] = set()
    while large := [name for name, rows in left.items() if rows > plan.config.core_rows and name not in stable]:
        before = dict(left)
        for side in ("item", "user"):
            left |= yield from _peel_once(large, side, turns, built, numbers)
        stable |= {name for name in large if left[name] == before[name]}
    # What is stable has only to go to its users; the rest is peeled to the end.
    if stable:
        yield from _peel_once(sorted(stable), "item", turns, built, numbers)
    results = yield [
        Step(
            f"core/{name}",
            finish_core,
            {"category": name, "turn": turns[name], "num_buckets": number},
            cost=left[name],
        )
        for name, number in numbers.items()
        if name not in stable
    ]
    built.count(results)
    return {name: turn + (name not in stable) for name, turn in turns.items()}


def _rows_by_category(keys: Sequence[tuple[str, int]], results: Sequence[Result]) -> dict[str, int]:
    rows = {name: 0 for name, _ in keys}
    for (name, _), result in zip(keys, results, strict=True):
        rows[name] += result["rows"]
    return rows


def _peel_once(
    names: Sequence[str], side: str, turns: dict[str, int], built: Built, numbers: Mapping[str, int]
) -> Flow[dict[str, int]]:
    """Let one side of some categories be peeled; return the ratings that are left."""
    keys = [(name, bucket) for name in names for bucket in range(numbers[name])]
    for name in names:
        turns[name] += 1
    results = yield [
        Step(
            f"peel/{name}/{turns[name]:03d}/{k:05d}",
            peel,
            {"category": name, "bucket": k, "side": side, "turn": turns[name], "number": numbers[name]},
        )
        for name, k in keys
    ]
    built.count(results)
    return _rows_by_category(keys, results)


def _order(numbers: Mapping[str, int], turns: Mapping[str, int]) -> Flow[dict[str, list[int]]]:
    """Put purchases in order; return the number of users in each bucket of each category."""
    keys = _buckets(numbers)
    results = yield [
        Step(
            f"order/{name}/{k:05d}",
            order_purchases,
            {"category": name, "bucket": k, "turn": turns[name], "num_item_buckets": numbers[name]},
        )
        for name, k in keys
    ]
    counts: dict[str, list[int]] = {name: [] for name in numbers}
    for (name, _), result in zip(keys, results, strict=True):
        counts[name].append(result["rows"])
    return counts


def _write_pools(plan: Plan, numbers: Mapping[str, int], has_old: Mapping[str, bool]) -> Flow[dict[str, list[int]]]:
    """Make all texts; return the number of texts in each file of each domain's pool."""
    number = max(numbers.values())
    domain_of = {name: domain for domain, name in plan.by_domain}
    yield [
        Step(
            f"texts/{name}/{k:05d}",
            write_texts,
            {
                "domain": domain_of[name],
                "category": name,
                "bucket": k,
                "has_old": has_old[name],
                "number": number,
            },
        )
        for name, k in _buckets(numbers)
    ]
    domains = sorted(set(domain_of.values()))
    results = yield [
        Step(f"pool/{domain}/{k:05d}", write_pool, {"domain": domain, "bucket": k})
        for domain in domains
        for k in range(number)
    ]
    rows = [result["rows"] for result in results]
    return {domain: rows[place * number : (place + 1) * number] for place, domain in enumerate(domains)}


def _make_examples(
    plan: Plan, built: Built, counts: Mapping[str, Sequence[int]], pools: Mapping[str, Sequence[int]]
) -> Flow[None]:
    """Make the examples of all users that are wanted."""
    targets = _TARGETS if plan.config.sequential_split == "leave_one_out" else dict.fromkeys(SPLITS, 1)
    steps, keys = [], []
    for domain, name in plan.by_domain:
        wanted = _wanted(plan, domain, name, sum(counts[name]))
        starts = np.concatenate([[0], np.cumsum(counts[name])])
        for bucket in range(len(counts[name])):
            arguments = {
                "domain": domain,
                "category": name,
                "bucket": bucket,
                "first_user": int(starts[bucket]),
                "wanted": wanted,
                "targets": targets,
                "pool": list(pools[domain]),
                "is_hard": plan.config.negatives == "hard",
            }
            steps.append(Step(f"sequences/{name}/{bucket:05d}", make_examples, arguments, cost=counts[name][bucket]))
            keys.append((domain, name))
    results = yield steps
    for domain, name in plan.by_domain:
        own = [result for key, result in zip(keys, results, strict=True) if key == (domain, name)]
        for split in own[0]["buckets"]:
            buckets = buckets_in([{"bucket": result["buckets"][split]} for result in own])
            built.sets.append(RankedSet(TASK.name, domain, name, given_split(split), buckets, SOURCE))


def _wanted(plan: Plan, domain: str, category: str, num_users: int) -> dict[str, tuple[int, int]]:
    """Return which users, by place in the order of ranks, give an example of each split."""
    if plan.config.sequential_split == "leave_one_out":
        ranges = dict.fromkeys(SPLITS, (0, num_users))
    else:
        ranges = ranges_of_shares(num_users, RANDOM_SPLIT)
    splits = SPLITS if domain == "IND" else ("test",)
    return {split: limited(ranges[split], plan.share(domain, category, split)) for split in splits}


def make_examples(
    context: Context,
    *,
    domain: str,
    category: str,
    bucket: int,
    first_user: int,
    wanted: Mapping[str, Sequence[int]],
    targets: Mapping[str, int],
    pool: Sequence[int],
    is_hard: bool,
) -> Result:
    """Step: make the examples of a bucket's users, in the order of ranks.

    Args:
        context: of the build.
        domain: IND or OOD.
        category: product category.
        bucket: of users.
        first_user: place of the bucket's first user among the category's.
        wanted: (first, end) of the places of the users of each split.
        targets: where each split's target stands from the end.
        pool: texts in each file of the domain's pool.
        is_hard: whether candidates are the most similar texts rather than random ones.
    """
    users, ranks, offsets, items = read_sequences(context, category, bucket)
    own = {
        split: np.arange(max(first - first_user, 0), max(0, min(end - first_user, len(users))))
        for split, (first, end) in wanted.items()
    }
    everyone = np.unique(np.concatenate(list(own.values()))).astype(np.int64)
    names = fetch_items(context, category, items[_flat(offsets[everyone], offsets[everyone + 1])])
    draws: dict[str, IntArray] = {}
    for split, places in own.items():
        if is_hard:
            codes = items[offsets[places + 1] - targets[split]]
            draws[split] = similar.most_similar(
                context, domain, pool, names.take("quoted", codes).to_pylist(), _NUM_DRAWS
            )
        else:
            draws[split] = draw_distinct(_keys(ranks[places], split), sum(pool), _NUM_DRAWS)
    texts = fetch_pool(context, domain, pool, np.concatenate([part.ravel() for part in draws.values()]))
    buckets = {}
    for split, places in own.items():
        path = context.staging("ranked", TASK.short_name, category, split, f"{bucket:05d}.parquet")
        num_chars = 0
        with context.storage.staged_file(path) as temporary, staged_writer(temporary, RANKED) as writer:
            for start in range(0, len(places), _USERS_AT_A_TIME):
                some = places[start : start + _USERS_AT_A_TIME]
                chunk = Chunk(
                    users.take(pa.array(some)),
                    ranks[some],
                    items,
                    offsets[some],
                    offsets[some + 1],
                    draws[split][start : start + _USERS_AT_A_TIME],
                )
                columns = examples_of(chunk, _keys(chunk.ranks, split), targets[split], names, texts)
                table = ranked_table(TASK.name, columns, seed=context.seed, category=category, ranks=chunk.ranks)
                num_chars += int(table["num_chars"].to_numpy().sum())
                writer.write_table(table)
        buckets[split] = [path, len(places), num_chars]
    return {"rows": sum(len(places) for places in own.values()), "buckets": buckets}


def _flat(starts: IntArray, ends: IntArray) -> IntArray:
    """Return the places of several runs, one after the other."""
    counts = ends - starts
    firsts = np.cumsum(counts) - counts
    return np.repeat(starts - firsts, counts) + np.arange(counts.sum())


def _keys(ranks: UIntArray, split: str) -> UIntArray:
    """Return what all draws for (user, split) follow from; a rank holds the seed already."""
    return spread(ranks ^ spread(np.full(1, SPLITS.index(split) + 1, np.uint64)))


def draw_distinct(keys: UIntArray, size: int, count: int) -> IntArray:
    """Draw `count` different numbers below `size` for each key, each set as likely as any other: int64 [keys, count].

    More are drawn than needed and repeated ones skipped; the few rows where that does not do, in small pools, are
    drawn again as a whole.
    """
    spare = count + 10
    with np.errstate(over="ignore"):
        numbers = np.add(keys[:, None], np.arange(1, spare + 1, dtype=np.uint64), dtype=np.uint64)
        draws = (spread(numbers) % np.uint64(size)).astype(np.int64)
    order = np.argsort(draws, axis=1, kind="stable")
    in_order = np.take_along_axis(draws, order, axis=1)
    is_new = np.ones(draws.shape, bool)
    np.put_along_axis(is_new, order[:, 1:], in_order[:, 1:] != in_order[:, :-1], axis=1)
    is_taken = is_new & (np.cumsum(is_new, axis=1) <= count)
    is_full = is_taken.sum(axis=1) == count
    result = np.empty((len(keys), count), np.int64)
    result[is_full] = draws[is_full][is_taken[is_full]].reshape(-1, count)
    for row in np.flatnonzero(~is_full):
        result[row] = np.random.default_rng(int(keys[row])).permutation(size)[:count]
    return result


@dataclass(frozen=True)
class Chunk:
    """Some users of a bucket with what was drawn for them.

    Attributes:
        users: string [num_users].
        ranks: uint64 [num_users].
        items: int64, the purchases of the whole bucket.
        starts: int64 [num_users], each user's first purchase in `items`.
        ends: int64 [num_users], behind the last.
        draws: int64 [num_users, 22], numbers of pool texts.
    """

    users: pa.Array
    ranks: UIntArray
    items: IntArray
    starts: IntArray
    ends: IntArray
    draws: IntArray


def examples_of(chunk: Chunk, keys: UIntArray, target: int, names: Texts, texts: Texts) -> Columns:
    """Return the examples of some users, one each.

    Args:
        chunk: the users.
        keys: uint64 [num_users], what the order of the options follows from.
        target: where the target stands from the end of the purchases.
        names: texts of the items by code.
        texts: texts of the pool by number.
    """
    num_users = len(chunk.users)
    candidates = _candidates(chunk, names, texts)
    with np.errstate(over="ignore"):
        mixed = spread(np.add(spread(keys)[:, None], np.arange(NUM_CANDIDATES, dtype=np.uint64), dtype=np.uint64))
    order = np.argsort(mixed, axis=1)  # place 0 is the target, the others the candidates
    goals = chunk.items[chunk.ends - target]
    both = pa.concat_arrays([names.take("quoted", goals), candidates])
    firsts = np.arange(num_users)[:, None]
    flat = np.where(order == 0, firsts, num_users + firsts * (NUM_CANDIDATES - 1) + order - 1)
    letters = pa.array(np.tile(np.arange(NUM_CANDIDATES), num_users))
    lengths = chunk.ends - target - chunk.starts
    history = names.take("quoted", chunk.items[_flat(chunk.starts, chunk.ends - target)])
    ordinals = pa.array(_flat(np.zeros(num_users, np.int64), lengths))
    users = pc.binary_join_element_wise("user ", chunk.users, "")
    ids = pa.concat_arrays([names.take("asin", goals), users]).take(
        pa.array(np.stack([np.arange(num_users), num_users + np.arange(num_users)], axis=1).ravel())
    )
    return Columns(
        inputs=list_reprs(_ORDINALS.take(ordinals), history, lengths),
        outputs=_LETTERS.take(pa.array((order == 0).argmax(axis=1))),
        options=list_reprs(
            _LETTERS.take(letters), both.take(pa.array(flat.ravel())), np.full(num_users, NUM_CANDIDATES)
        ),
        source_ids=pa.ListArray.from_arrays(np.arange(0, 2 * num_users + 1, 2, dtype=np.int32), ids),
    )


def _candidates(chunk: Chunk, names: Texts, texts: Texts) -> pa.Array:
    """Return the texts of the 19 drawn for each user, flat: the first that are none of the last three purchases."""
    num_users = len(chunk.users)
    last = chunk.items[(chunk.ends[:, None] - np.arange(1, _LAST + 1)).ravel()]
    excluded = names.take("key", last).to_numpy().reshape(num_users, _LAST)
    drawn = texts.take("key", chunk.draws).to_numpy().reshape(num_users, _NUM_DRAWS)
    is_kept = ~(drawn[:, :, None] == excluded[:, None, :]).any(axis=2)
    is_kept &= np.cumsum(is_kept, axis=1) < NUM_CANDIDATES
    return texts.take("quoted", chunk.draws[is_kept])


def _files(_storage: Storage, raw_dir: str, categories: Sequence[str]) -> list[str]:
    return [file(raw_dir, name) for file in (rating_file, meta_file) for name in categories]


def _optional_files(storage: Storage, raw_dir: str, categories: Sequence[str]) -> list[str]:
    files = [old_meta_file(raw_dir, name) for name in categories]
    return [file for file in files if storage.exists(file)]


def _look(storage: Storage, raw_dir: str, categories: Sequence[str]) -> None:
    look_at_products(storage, raw_dir, categories)
    for name in categories:
        look_at_records(storage, rating_file(raw_dir, name), decode_rating)


BUILDER = Builder(
    (TASK.name,),
    SOURCE,
    has_categories=True,
    files=_files,
    look=_look,
    flow=build,
    optional_files=_optional_files,
)
