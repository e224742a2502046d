"""Sentiment Analysis: the first 200,000 lines of each category's reviews, in one pass."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import pyarrow as pa

from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import RANDOM_SPLIT, Columns, RankedSet, RankedWriter, sort_sets
from ecellm.sources.amazon_reviews import Review, review_file
from ecellm.sources.records import Quarantine, RecordDecoder, iter_records, look_at_records
from ecellm.storage import Storage, join
from ecellm.tasks.sentiment_analysis import FIRST_LINES, OUTPUT_OF_STARS, TASK, reason_to_leave_out
from ecellm.tasks.wire_options import options_text

SOURCE = "amazon_review_2018"
# What the first lines of a file come to, compressed: the rest is not read.
_BYTES_OF_FIRST_LINES = 64 << 20
_BATCH = 8192
_TEXTS = pa.list_(pa.string())


def stage_reviews(context: Context, *, category: str, file: str, number: int) -> Result:
    """Step: make examples of a category's first reviews and send them to the buckets of their ranks."""
    quarantine = Quarantine(context.storage, context.quarantine(f"reviews-{category}"), file)
    dropped: Counter[str] = Counter()
    records = iter_records(context.storage, file, RecordDecoder(Review), quarantine, FIRST_LINES)
    kept = _usable(records, dropped)
    with RankedWriter(context, _set_name(category), "reviews", task=TASK.name, number=number) as writer:
        while batch := list(islice(kept, _BATCH)):
            lines, texts, stars, asins, users = zip(*batch, strict=True)
            outputs = [OUTPUT_OF_STARS[int(own)] for own in stars]
            columns = Columns(
                pa.array(texts, pa.string()),
                pa.array(outputs, pa.string()),
                pa.repeat(pa.scalar(options_text(TASK.short_name), pa.string()), len(texts)),
                pa.array([(asin, f"user {user}") for asin, user in zip(asins, users, strict=True)], _TEXTS),
            )
            writer.add_columns(columns, lines, category)
    return {"rows": writer.num_rows, "dropped": dropped, "quarantined": {file: quarantine.num_rows}}


def _usable(records: Iterator[tuple[int, Review]], dropped: Counter[str]) -> Iterator[tuple[int, str, float, str, str]]:
    """Yield line, text, stars, asin and user of the reviews that the recipe takes; count the others."""
    for line, review in records:
        reason = reason_to_leave_out(review.reviewText, review.overall)
        if reason:
            dropped[f"review {reason}"] += 1
            continue
        assert review.reviewText is not None and review.overall is not None  # noqa: PT018  or there is a reason
        yield line, review.reviewText, review.overall, review.asin or "", review.reviewerID or ""


def _set_name(category: str) -> str:
    return join(TASK.short_name, category)


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: read each category's file, then sort by rank."""
    plan = plans[TASK.name]
    storage = plan.context.storage
    built = Built()
    files = {name: review_file(storage, plan.context.raw_dir, name) for _, name in plan.by_domain}
    sizes = {name: min(storage.size(file), _BYTES_OF_FIRST_LINES) for name, file in files.items()}
    number = max(1, -(-max(sizes.values()) // plan.config.bucket_bytes))
    staged = yield [
        Step(
            f"reviews/{name}",
            stage_reviews,
            {"category": name, "file": file, "number": number},
            cost=sizes[name],
        )
        for name, file in files.items()
    ]
    built.count(staged)
    sets = yield from sort_sets([_set_name(name) for name in files], number)
    built.sets = [
        RankedSet(TASK.name, domain, name, RANDOM_SPLIT, sets[_set_name(name)], SOURCE)
        for domain, name in plan.by_domain
    ]
    return built


def _files(storage: Storage, raw_dir: str, categories: Sequence[str]) -> list[str]:
    return [review_file(storage, raw_dir, name) for name in categories]


def _look(storage: Storage, raw_dir: str, categories: Sequence[str]) -> None:
    for file in _files(storage, raw_dir, categories):
        look_at_records(storage, file, RecordDecoder(Review))


BUILDER = Builder((TASK.name,), SOURCE, has_categories=True, files=_files, look=_look, flow=build)
