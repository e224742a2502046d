"""Sequential Recommendation: the flow, from ratings and metadata to examples.

ratings, metadata ──► 5-core ──► purchases in order ──► texts, pool ──► examples
(purchases.py)                                          (item_texts.py)  (user_examples.py)
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ecellm.dataset.builders.flow import Flow, Result, Step
from ecellm.dataset.builders.item_texts import write_pool, write_texts
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
    send_to_users,
    stage_ratings,
)
from ecellm.dataset.builders.ranked import (
    RANDOM_SPLIT,
    RankedSet,
    buckets_in,
    given_split,
)
from ecellm.dataset.builders.user_examples import NUM_DRAWS, make_examples
from ecellm.dataset.shares import limited, ranges_of_shares
from ecellm.errors import InputError
from ecellm.settings import SPLITS
from ecellm.sources.amazon_reviews import decode_rating, meta_file, old_meta_file, rating_file
from ecellm.sources.records import look_at_records
from ecellm.storage import Storage
from ecellm.tasks.sequential_recommendation import NUM_CANDIDATES, TASK

SOURCE = "amazon_review_2018"
# Where the target of a split stands from the end of a user's purchases (leave-one-out).
_TARGETS = {"train": 3, "val": 2, "test": 1}


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: stage, peel to the 5-core, order, texts, pool, examples."""
    plan = plans[TASK.name]
    built = Built()
    numbers = {name: num_item_buckets(plan.context, name, plan.config.bucket_bytes) for _, name in plan.by_domain}
    has_old = yield from _stage(plan, built, numbers)
    turns = yield from _peel(plan, built, numbers)
    counts = yield from _order(built, numbers, turns)
    pools = yield from _write_pools(plan, numbers, has_old)
    for domain, sizes in pools.items():
        if sum(sizes) < NUM_DRAWS:
            raise InputError(
                f"{TASK.name}: the {domain} categories leave {sum(sizes)} different items after the 5-core, and "
                f"{NUM_CANDIDATES} candidates need {NUM_DRAWS}: give more ratings or other categories, or leave "
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


def _order(built: Built, numbers: Mapping[str, int], turns: Mapping[str, int]) -> Flow[dict[str, list[int]]]:
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
    built.count(results)
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
