"""Product Matching: the whole benchmark fits one step, and its order and split are the release's own."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import (
    RankedSet,
    buckets_in,
    columns_of,
    given_split,
    ranked_table,
    write_ranked,
)
from ecellm.settings import SPLITS
from ecellm.sources import amazon_google
from ecellm.storage import Storage, join
from ecellm.tasks.product_matching import TASK, build_examples

SOURCE = "amazon_google"


def match_products(context: Context, *, is_hard: bool) -> Result:
    """Step: make all examples; an example's rank is its place in the release."""
    tables = amazon_google.read(context.storage, context.raw_dir)
    buckets, answers = {}, Counter[str]()
    for split, examples in build_examples(tables, hard_negatives=is_hard).items():
        answers.update(example.output for example in examples)
        ranks = np.arange(len(examples), dtype=np.uint64)
        table = ranked_table(TASK.name, columns_of(examples), seed=context.seed, ranks=ranks)
        buckets[split] = write_ranked(context, join(TASK.short_name, split), 0, table)["bucket"]
    return {
        "buckets": buckets,
        "rows": answers.total(),
        "dropped": {"mapping whose two products were seen before": len(tables.mapping) - answers["yes"]},
        "kept": {"positive pair for which no negative is left": answers["yes"] - answers["no"]},
    }


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: one step."""
    plan = plans[TASK.name]
    (result,) = yield [Step("matching", match_products, {"is_hard": plan.config.negatives == "hard"})]
    built = Built()
    built.count([result])
    for split in SPLITS:
        buckets = buckets_in([{"bucket": result["buckets"][split]}])
        built.sets.append(RankedSet(TASK.name, "IND", None, given_split(split), buckets, SOURCE))
    return built


def _files(_storage: Storage, raw_dir: str, _categories: Sequence[str]) -> list[str]:
    return amazon_google.files(raw_dir)


def _look(storage: Storage, raw_dir: str, _categories: Sequence[str]) -> None:
    """Build the examples, which takes a second, and leave them on the node."""
    build_examples(amazon_google.read(storage, raw_dir))


BUILDER = Builder((TASK.name,), SOURCE, has_categories=False, files=_files, look=_look, flow=build)
