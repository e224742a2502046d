"""The three tasks of Shopping Queries: judgements joined with products, one example each; rankings by query.

    judgements ──by product──┐
                             ├─► query, title, label ──by rank──► MPC, PSI
    products ────by product──┘            └────────────by query──► rankings ──by rank──► QPR

MPC and PSI draw by one rank, that of (query, product, label), so that a judgement of one's test is not in the other's
validation split.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.contract import conform
from ecellm.dataset.builders.exchange import ExchangeWriter, buckets_of_keys, read_bucket
from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import HALVED_TEST, RankedSet, RankedWriter, given_split, sort_sets
from ecellm.dataset.hashing import rank_of
from ecellm.sources.shopping_queries import (
    EXAMPLE_COLUMNS,
    PRODUCT_COLUMNS,
    examples_file,
    iter_us_rows,
    num_row_groups,
    products_file,
)
from ecellm.storage import Storage
from ecellm.tasks import multiclass_product_classification, product_substitute_identification, query_product_ranking
from ecellm.tasks.query_product_ranking import GAINS, label_sets
from ecellm.tasks.shopping_text import is_english, query_text, title_text

SOURCE = "shopping_queries"
MPC, PSI, QPR = (
    task.TASK for task in (multiclass_product_classification, product_substitute_identification, query_product_ranking)
)
_SPLITS = ("train", "test")  # the source's own
_SINGLE = {MPC.name: multiclass_product_classification, PSI.name: product_substitute_identification}
_JUDGEMENTS = pa.schema(
    [
        ("product_id", pa.string()), ("query", pa.string()), ("query_id", pa.int64()), ("example_id", pa.int64()),
        ("esci_label", pa.string()), ("small_version", pa.int64()), ("split", pa.string()),
    ]
)  # fmt: skip
_PRODUCTS = pa.schema([("product_id", pa.string()), ("product_title", pa.string())])
_IDS = ("product_id", "query_id", "example_id")
_CANDIDATES = pa.schema(
    [
        ("query", pa.string()), ("query_id", pa.int64()), ("label", pa.string()), ("title", pa.string()),
        ("product_id", pa.string()), ("example_id", pa.int64()), ("split", pa.string()),
    ]
)  # fmt: skip


def stage_rows(context: Context, *, kind: str, file: str, row_groups: Sequence[int], number: int) -> Result:
    """Step: send the US rows of some row groups to the buckets of their products."""
    columns, schema = (EXAMPLE_COLUMNS, _JUDGEMENTS) if kind == "judgements" else (PRODUCT_COLUMNS, _PRODUCTS)
    writer_name = f"{row_groups[0]:06d}"
    with ExchangeWriter(context.storage, context.staging("shopping", kind), writer_name, schema, number) as writer:
        for rows in iter_us_rows(context.storage, file, columns, row_groups):
            table = conform(rows.select(schema.names), schema, file, _IDS)
            writer.add(table, buckets_of_keys(table["product_id"], number))
    return {"rows": writer.num_rows}


def join_judgements(context: Context, *, tasks: Sequence[str], bucket: int, number: int) -> Result:
    """Step: find the titles of a bucket's judged products; make the examples of MPC and PSI, and QPR's candidates."""
    storage = context.storage
    judgements = read_bucket(storage, context.staging("shopping", "judgements"), bucket, _JUDGEMENTS)
    products = read_bucket(storage, context.staging("shopping", "products"), bucket, _PRODUCTS)
    places = pc.index_in(judgements["product_id"].combine_chunks(), value_set=products["product_id"].combine_chunks())
    joined = judgements.append_column("title", products["product_title"].combine_chunks().take(places))
    joined = joined.filter(pc.is_valid(places)).sort_by("example_id")
    dropped: Counter[str] = Counter()
    dropped["judgement of a product that is not in the file"] = judgements.num_rows - joined.num_rows
    rows = _normalised(joined.to_pylist(), dropped)
    for name in set(tasks) & set(_SINGLE):
        _write_examples(context, name, rows, bucket, number)
    if QPR.name in tasks:
        small = [row for row in rows if row["small_version"] == 1]
        table = pa.Table.from_pylist([{name: row[name] for name in _CANDIDATES.names} for row in small], _CANDIDATES)
        with ExchangeWriter(
            storage, context.staging("shopping", "candidates"), f"{bucket:05d}", _CANDIDATES, number
        ) as writer:
            writer.add(table, buckets_of_keys(table["query"], number))
    return {"rows": len(rows), "dropped": {reason: count for reason, count in dropped.items() if count}}


def _normalised(rows: list[dict[str, Any]], dropped: Counter[str]) -> list[dict[str, Any]]:
    """Return the judgements in English with a known label and split, their texts as samples show them."""
    kept = []
    for row in rows:
        if row["esci_label"] not in GAINS or row["split"] not in _SPLITS or row["query"] is None:
            dropped["judgement without query, label (E, S, C, I) or split (train, test)"] += 1
        elif not (is_english(row["query"]) and is_english(row["title"])):
            dropped["query or title not in English"] += 1
        else:
            texts = {"query": query_text(row["query"]), "title": title_text(row["title"])}
            kept.append(row | texts | {"label": row["esci_label"]})
    return kept


def _write_examples(context: Context, name: str, rows: list[dict[str, Any]], bucket: int, number: int) -> None:
    """Send one example of each judgement to the bucket of its rank."""
    task = _SINGLE[name]
    for split in _SPLITS:
        with RankedWriter(context, _set_name(name, split), f"{bucket:05d}", task=name, number=number) as writer:
            for row in rows:
                if row["split"] == split:
                    ids = (row["product_id"], f"query {row['query_id']}", f"example {row['example_id']}")
                    example = task.make_example(row["query"], row["title"], row["label"], ids)
                    rank = rank_of(context.seed, SOURCE, row["query"], row["product_id"], row["label"])
                    writer.add(example, row["example_id"], rank=rank)


def rank_products(context: Context, *, bucket: int, number: int) -> Result:
    """Step: of each query of a bucket, make every set of two to four labels an example.

    One product stands for each (query, label), drawn by hash; the order in which a set's products are listed is drawn.
    """
    table = read_bucket(context.storage, context.staging("shopping", "candidates"), bucket, _CANDIDATES)
    queries: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        queries[row["split"], row["query"]].append(row)
    num_rows = 0
    for split in _SPLITS:
        with RankedWriter(context, _set_name(QPR.name, split), f"{bucket:05d}", task=QPR.name, number=number) as writer:
            for (own_split, query), rows in sorted(queries.items()):
                if own_split == split:
                    _write_rankings(context.seed, query, rows, writer)
            num_rows += writer.num_rows
    return {"rows": num_rows}


def _write_rankings(seed: int, query: str, rows: list[dict[str, Any]], writer: RankedWriter) -> None:
    chosen: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: rank_of(seed, QPR.name, query, row["label"], row["product_id"])):
        chosen.setdefault(row["label"], row)
    for labels in label_sets(list(chosen)):
        listed = [chosen[label] for label in labels]
        key = "".join(labels)
        listed.sort(key=lambda row: rank_of(seed, QPR.name, "order", query, key, row["product_id"]))
        ids = (*(row["product_id"] for row in listed), f"query {listed[0]['query_id']}")
        candidates = [(row["label"], row["title"]) for row in listed]
        writer.add(query_product_ranking.make_example(query, candidates, ids), listed[0]["query_id"])


def _set_name(task: str, split: str) -> str:
    return f"{task}/{split}"


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: stage both files, join, make rankings, sort by rank."""
    tasks = sorted(plans)
    plan = plans[tasks[0]]
    context, storage = plan.context, plan.context.storage
    built = Built()
    files = {"judgements": examples_file(context.raw_dir), "products": products_file(context.raw_dir)}
    number = plan.num_buckets(list(files.values()))
    built.count((yield _stage_steps(storage, files, plan.config.bucket_bytes, number)))
    built.count((yield [
        Step(f"judgements/{k:05d}", join_judgements, {"tasks": tasks, "bucket": k, "number": number})
        for k in range(number)
    ]))  # fmt: skip
    names = [_set_name(task, split) for task in tasks for split in _SPLITS]
    if QPR.name in tasks:
        yield [Step(f"rankings/{k:05d}", rank_products, {"bucket": k, "number": number}) for k in range(number)]
    sets = yield from sort_sets(names, number)
    for task in tasks:
        for split, shares in (("train", given_split("train")), ("test", HALVED_TEST)):
            built.sets.append(RankedSet(task, "IND", None, shares, sets[_set_name(task, split)], SOURCE))
    return built


def _stage_steps(storage: Storage, files: Mapping[str, str], bucket_bytes: int, number: int) -> list[Step]:
    """Return the steps that read the two files, each step some row groups of one of them."""
    steps = []
    for kind, file in files.items():
        groups = num_row_groups(storage, file, EXAMPLE_COLUMNS if kind == "judgements" else PRODUCT_COLUMNS)
        at_a_time = max(1, int(groups * bucket_bytes / max(1, storage.size(file))))
        for start in range(0, groups, at_a_time):
            arguments = {
                "kind": kind,
                "file": file,
                "row_groups": list(range(start, min(groups, start + at_a_time))),
                "number": number,
            }
            steps.append(Step(f"shopping/{kind}/{start:06d}", stage_rows, arguments, cost=at_a_time))
    return steps


def _files(_storage: Storage, raw_dir: str, _categories: Sequence[str]) -> list[str]:
    return [examples_file(raw_dir), products_file(raw_dir)]


def _look(storage: Storage, raw_dir: str, _categories: Sequence[str]) -> None:
    num_row_groups(storage, examples_file(raw_dir), EXAMPLE_COLUMNS)
    num_row_groups(storage, products_file(raw_dir), PRODUCT_COLUMNS)


BUILDER = Builder((MPC.name, PSI.name, QPR.name), SOURCE, has_categories=False, files=_files, look=_look, flow=build)
