"""What the rows of a build hold: answers, lengths, categories, and the ids that train shares with test splits.

Whoever writes samples has the rows at hand, without those left out as leaks, and counts them here.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import ExchangeWriter, buckets_of_keys, read_bucket
from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.builders.ranked import ID_KINDS

IDS = pa.schema([("id", pa.string()), ("kind", pa.string()), ("split_number", pa.int32())])
# Only where answers are few are they worth a table.
_TASKS_WITH_OPEN_ANSWERS = ("Attribute_Value_Extraction", "Answer_Generation")
_SHARED_KINDS = ("product", "user", "query")
_DIGITS = 2


def count_contents(examples: pa.Table, task: str) -> Result:
    """Count answers and lengths.

    Args:
        examples: rows of `RANKED`.
        task: canonical name.

    Returns:
        `answers` (rows by answer; empty where answers are open), `lengths` (rows by number of characters of input,
        options and output, rounded to two digits).
    """
    answers = [] if task in _TASKS_WITH_OPEN_ANSWERS else pc.value_counts(examples["output"]).to_pylist()
    return {
        "answers": {own["values"]: own["counts"] for own in answers},
        "lengths": _rounded_counts(examples["num_chars"].to_numpy()),
    }


def _rounded_counts(lengths: np.ndarray) -> dict[str, int]:
    """Count lengths rounded down to two digits: 1234 counts as 1200."""
    if not len(lengths):
        return {}
    magnitude = 10 ** np.maximum(np.floor(np.log10(np.maximum(lengths, 1))).astype(int) - _DIGITS + 1, 0)
    values, counts = np.unique(lengths // magnitude * magnitude, return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def groups_of(examples: pa.Table, task: str) -> list[str]:
    """Return what tells the domains apart, each once: the rows' categories, or their first attributes."""
    if task == "Attribute_Value_Extraction":
        groups = pc.list_element(examples["source_ids"].combine_chunks(), 1) if examples.num_rows else pa.array([])
    else:
        groups = examples["category"]
    return sorted(pc.drop_null(pc.unique(groups)).to_pylist())


def send_ids(context: Context, examples: pa.Table, task: str, *, split_number: int, part: int, number: int) -> None:
    """Send each id that a part's rows name, once, to the bucket where it meets those of the task's other splits.

    Args:
        context: of the build.
        examples: rows of `RANKED`.
        task: canonical name.
        split_number: of the split.
        part: number of the part.
        number: of buckets.
    """
    ids = pc.unique(pc.list_flatten(examples["source_ids"].combine_chunks()))
    kinds = kinds_of(ids)
    is_kept = pc.and_(pc.is_in(kinds, value_set=pa.array(_SHARED_KINDS)), pc.greater(pc.binary_length(ids), 0))
    ids, kinds = ids.filter(is_kept), kinds.filter(is_kept)
    numbers = pa.array(np.full(len(ids), split_number, np.int32))
    # An id of one task does not meet those of another.
    rows = pa.table([pc.binary_join_element_wise(task, ids, " "), kinds, numbers], IDS)
    name = f"{split_number:05d}-{part:05d}"
    with ExchangeWriter(context.storage, context.staging("ids"), name, IDS, number) as writer:
        writer.add(rows, buckets_of_keys(rows["id"], number))


def kinds_of(source_ids: pa.Array) -> pa.Array:
    """Return what each source id names: product, user, query, ..."""
    is_named = pc.match_substring_regex(source_ids, f"^({'|'.join(ID_KINDS)}) ")
    names = pc.list_element(pc.split_pattern(source_ids, " ", max_splits=1), 0)
    return pc.if_else(is_named, names, "product")


def match_steps(splits: Sequence[Sequence[str]], number: int) -> list[Step]:
    """Return the steps that count shared ids, one a bucket."""
    return [
        Step(f"match_ids/{bucket:05d}", match_ids, {"bucket": bucket, "splits": splits}) for bucket in range(number)
    ]


def match_ids(context: Context, *, bucket: int, splits: Sequence[Sequence[str]]) -> Result:
    """Step: count the products, users and queries of a bucket that train shares with a test split.

    Args:
        context: of the build.
        bucket: of ids.
        splits: (task, domain, split) by split number.

    Returns:
        `shared`: [train's number, test's number, kind, ids in both]; `totals`: [test's number, kind, ids].
    """
    table = read_bucket(context.storage, context.staging("ids"), bucket, IDS)
    numbers = table["split_number"].to_numpy()
    codes = pc.dictionary_encode(table["id"].combine_chunks()).indices.to_numpy()
    kinds = np.array(table["kind"].to_pylist(), dtype=object)
    shared, totals = [], []
    for kind in _SHARED_KINDS:
        is_kind = kinds == kind
        of_split = {int(n): np.unique(codes[is_kind & (numbers == n)]) for n in np.unique(numbers[is_kind])}
        for number, own in of_split.items():
            if splits[number][2] == "test":
                totals.append([number, kind, len(own)])
            for other, theirs in of_split.items():
                is_leak = splits[number][0] == splits[other][0] and (splits[number][2], splits[other][2]) == (
                    "train",
                    "test",
                )
                if is_leak:
                    shared.append([number, other, kind, int(np.isin(own, theirs).sum())])
    return {"shared": shared, "totals": totals}
