"""Attribute Value Extraction: MAVE's products, with some attributes held out for the out-of-domain test.

Attributes are held out in an order drawn by hash, by the first attribute of a row, until they cover enough test rows.
Those test rows are the out-of-domain test; rows of such attributes leave every in-domain split.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import (
    RANDOM_SPLIT,
    RANKED,
    RankedSet,
    RankedWriter,
    buckets_in,
    given_split,
    sort_sets,
    write_ranked,
)
from ecellm.dataset.hashing import rank_of
from ecellm.dataset.shares import Range, ranges_of_shares
from ecellm.settings import SPLITS
from ecellm.sources.mave import KINDS, WHOLE, decode_labelled_product, files_by_part
from ecellm.sources.records import Quarantine, iter_records, look_at_records
from ecellm.storage import Storage, join
from ecellm.tasks.attribute_value_extraction import TASK, make_example

SOURCE = "mave"
_BEHIND_POSITIVES = 1 << 40  # negatives come behind the positives of a split
_ATTRIBUTE = "attribute "


def stage_products(context: Context, *, part: str, kind: str, file: str, number: int) -> Result:
    """Step: make the examples of one file and send them to the buckets of their ranks."""
    quarantine = Quarantine(context.storage, context.quarantine(f"{part}-{kind}"), file)
    dropped: Counter[str] = Counter()
    with RankedWriter(context, _set_name(part), kind, task=TASK.name, number=number) as writer:
        for line, product in iter_records(context.storage, file, decode_labelled_product, quarantine):
            if not product.attributes:
                dropped["product without attributes"] += 1
                continue
            example = make_example(
                [(paragraph.text, paragraph.source) for paragraph in product.paragraphs],
                [(own.key, [(found.value, found.pid) for found in own.evidences]) for own in product.attributes],
                (product.id, *(_ATTRIBUTE + own.key for own in product.attributes)),
            )
            writer.add(example, line + KINDS.index(kind) * _BEHIND_POSITIVES, product.category)
    return {"rows": writer.num_rows, "dropped": dropped, "quarantined": {file: quarantine.num_rows}}


def _set_name(part: str) -> str:
    return join(TASK.short_name, "all", part)


def _first_attributes(table: pa.Table) -> list[str]:
    return [ids[1].removeprefix(_ATTRIBUTE) for ids in table["source_ids"].to_pylist()]


def _later_attributes(table: pa.Table) -> list[set[str]]:
    return [{name.removeprefix(_ATTRIBUTE) for name in ids[2:]} for ids in table["source_ids"].to_pylist()]


def count_attributes(context: Context, *, file: str, rows: Sequence[int]) -> Result:
    """Step: count the first attributes of the test rows of a bucket.

    Args:
        context: of the build.
        file: the bucket's sorted rows.
        rows: (first, end) of the test rows in it.
    """
    table = context.storage.read_table(file, ["source_ids"]).slice(rows[0], rows[1] - rows[0])
    return {"counts": Counter(_first_attributes(table))}


def divide(
    context: Context, *, bucket: int, sources: Sequence[tuple[str, str, int, int]], held_out: Sequence[str]
) -> Result:
    """Step: divide a bucket's rows into the in-domain splits and the out-of-domain test.

    Args:
        context: of the build.
        bucket: its number.
        sources: (split, file, first row, end) of the rows of each split.
        held_out: the attributes of the out-of-domain test.
    """
    tables: dict[str, list[pa.Table]] = {name: [] for name in (*SPLITS, "OOD")}
    dropped = named = 0
    for split, file, first, end in sources:
        table = context.storage.read_table(file).slice(first, end - first)
        is_held_out = np.isin(np.array(_first_attributes(table), dtype=object), list(held_out))
        mask = pa.array(is_held_out.astype(bool))
        in_domain = table.filter(pc.invert(mask))
        tables[split].append(in_domain)
        named += sum(not later.isdisjoint(held_out) for later in _later_attributes(in_domain))
        if split == "test":
            tables["OOD"].append(table.filter(mask))
        else:
            dropped += int(is_held_out.sum())
    buckets = {
        name: write_ranked(
            context, join(TASK.short_name, name), bucket, pa.concat_tables(own) if own else RANKED.empty_table()
        )["bucket"]
        for name, own in tables.items()
    }
    return {
        "buckets": buckets,
        "dropped": {"train or validation row of a held-out attribute": dropped},
        "kept": {"in-domain row that names a held-out attribute behind its first": named},
    }


def choose_held_out(counts: Mapping[str, int], least: int, seed: int) -> list[str]:
    """Return attributes, in the order of their ranks, until they cover `least` test rows, or half if that is less.

    Args:
        counts: test rows by first attribute.
        least: how many rows to cover.
        seed: of the ranks.
    """
    wanted = min(least, sum(counts.values()) // 2)
    chosen: list[str] = []
    covered = 0
    for name in sorted(counts, key=lambda name: (rank_of(seed, "held-out attribute", name), name)):
        if covered >= wanted:
            break
        chosen.append(name)
        covered += counts[name]
    return chosen


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: read the files, sort by rank, choose the held-out attributes, divide."""
    plan = plans[TASK.name]
    storage = plan.context.storage
    built = Built()
    parts = files_by_part(storage, plan.context.raw_dir)
    number = plan.num_buckets([file for own in parts.values() for file in own.values()])
    built.count((yield [
        Step(
            f"extractions/{part}/{kind}",
            stage_products,
            {"part": part, "kind": kind, "file": file, "number": number},
            cost=storage.size(file),
        )
        for part, own in parts.items()
        for kind, file in own.items()
    ]))  # fmt: skip
    sets = yield from sort_sets([_set_name(part) for part in parts], number)
    sources = _sources({part: sets[_set_name(part)] for part in parts}, number)
    counted = yield [
        Step(f"attributes/{k:05d}/{place}", count_attributes, {"file": file, "rows": [first, end]})
        for k, own in enumerate(sources)
        for place, (split, file, first, end) in enumerate(own)
        if split == "test"
    ]
    counts: Counter[str] = Counter()
    for result in counted:
        counts.update(result["counts"])
    held_out = choose_held_out(counts, plan.config.held_out_rows, plan.context.seed)
    divided = yield [
        Step(f"divide/{k:05d}", divide, {"bucket": k, "sources": own, "held_out": held_out})
        for k, own in enumerate(sources)
    ]
    built.count(divided)
    built.notes.append(f"held-out attributes: {', '.join(held_out) or 'none'}")
    for name in (*SPLITS, "OOD"):
        domain, split = ("OOD", "test") if name == "OOD" else ("IND", name)
        buckets = buckets_in([{"bucket": result["buckets"][name]} for result in divided])
        built.sets.append(RankedSet(TASK.name, domain, None, given_split(split), buckets, SOURCE))
    return built


def _sources(sets: Mapping[str, Sequence[tuple[str, int, int]]], number: int) -> list[list[tuple[str, str, int, int]]]:
    """Return for each bucket (split, file, first row, end) of the rows of each split in it."""
    sources: list[list[tuple[str, str, int, int]]] = [[] for _ in range(number)]
    for part, buckets in sets.items():
        total = sum(rows for _, rows, _ in buckets)
        shares = RANDOM_SPLIT if part == WHOLE else given_split(part)
        start = 0
        for bucket, (file, rows, _) in enumerate(buckets):
            for split, (first, end) in ranges_of_shares(total, shares).items():
                own: Range = (max(first - start, 0), min(end - start, rows))
                if own[0] < own[1]:
                    sources[bucket].append((split, file, *own))
            start += rows
    return sources


def _files(storage: Storage, raw_dir: str, _categories: Sequence[str]) -> list[str]:
    return [file for own in files_by_part(storage, raw_dir).values() for file in own.values()]


def _look(storage: Storage, raw_dir: str, categories: Sequence[str]) -> None:
    for file in _files(storage, raw_dir, categories):
        look_at_records(storage, file, decode_labelled_product)


BUILDER = Builder((TASK.name,), SOURCE, has_categories=False, files=_files, look=_look, flow=build)
