"""First look at the selected examples: their hashes and ids go to buckets, where equal ones meet.

    part of a split ──by input──► who has the same input, in which splits
                    ──by id─────► products, users and queries that several splits share

Only hashes, ids and lengths are read, never the texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import ExchangeWriter, IntArray, buckets_of_keys, read_bucket, write_staged
from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.builders.ranked import ID_KINDS
from ecellm.dataset.hashing import words_of
from ecellm.dataset.marks import MARKS, marks_path
from ecellm.dataset.selection import Selected, SplitKey, iter_rows
from ecellm.storage import join

KEYS = pa.schema(
    [("input_key", pa.uint64()), ("example_id", pa.uint64()), ("split_number", pa.int32()), ("place", pa.int64())]
)
IDS = pa.schema([("id", pa.string()), ("kind", pa.string()), ("split_number", pa.int32())])
# Only where answers are few are they worth a table.
_TASKS_WITH_OPEN_ANSWERS = ("Attribute_Value_Extraction", "Answer_Generation")
_SHARED_KINDS = ("product", "user", "query")
_DIGITS = 2


def key_steps(chosen: Mapping[SplitKey, Selected], number: int) -> list[Step]:
    """Return the steps that read the keys of all parts."""
    return [
        Step(
            join("keys", f"{split_number:05d}", f"{part['number']:05d}"),
            read_keys,
            {"task": key.task, "split_number": split_number, "part": part, "number": number},
            cost=part["rows"],
        )
        for split_number, (key, selected) in enumerate(chosen.items())
        for part in selected.parts()
    ]


def read_keys(context: Context, *, task: str, split_number: int, part: Mapping[str, Any], number: int) -> Result:
    """Step: send the keys and ids of a part to their buckets; count its answers and lengths.

    Returns:
        `rows`, `answers` (rows by answer; empty where answers are open), `lengths` (rows by number of characters of
        input, options and output, rounded to two digits), `split_number`.
    """
    columns = ["input_key", "example_id", "num_chars", "source_ids"]
    has_few_answers = task not in _TASKS_WITH_OPEN_ANSWERS
    tables = iter_rows(context.storage, part["pieces"], [*columns, "output"] if has_few_answers else columns)
    table = pa.concat_tables(list(tables))
    places = np.arange(part["first"], part["first"] + table.num_rows)
    numbers = np.full(table.num_rows, split_number, np.int32)
    ids = pa.array(words_of(table["example_id"]))
    keys = pa.table([table["input_key"], ids, pa.array(numbers), pa.array(places)], KEYS)
    name = f"{split_number:05d}-{part['number']:05d}"
    with ExchangeWriter(context.storage, context.staging("keys"), name, KEYS, number) as writer:
        writer.add(keys, (table["input_key"].to_numpy() % np.uint64(number)).astype(np.int64))
    _send_ids(context, table, task=task, split_number=split_number, name=name, number=number)
    answers = pc.value_counts(table["output"]).to_pylist() if has_few_answers else []
    return {
        "rows": table.num_rows,
        "split_number": split_number,
        "answers": {own["values"]: own["counts"] for own in answers},
        "lengths": _rounded_counts(table["num_chars"].to_numpy()),
    }


def _send_ids(context: Context, table: pa.Table, *, task: str, split_number: int, name: str, number: int) -> None:
    """Send each id of a part once; an id of one task does not meet those of another."""
    ids = pc.unique(pc.list_flatten(table["source_ids"]).combine_chunks())
    kinds = kinds_of(ids)
    is_kept = pc.and_(pc.is_in(kinds, value_set=pa.array(_SHARED_KINDS)), pc.greater(pc.binary_length(ids), 0))
    ids, kinds = ids.filter(is_kept), kinds.filter(is_kept)
    numbers = pa.array(np.full(len(ids), split_number, np.int32))
    rows = pa.table([pc.binary_join_element_wise(task, ids, " "), kinds, numbers], IDS)
    with ExchangeWriter(context.storage, context.staging("ids"), name, IDS, number) as writer:
        writer.add(rows, buckets_of_keys(rows["id"], number))


def kinds_of(source_ids: pa.Array) -> pa.Array:
    """Return what each source id names: product, user, query, ..."""
    is_named = pc.match_substring_regex(source_ids, f"^({'|'.join(ID_KINDS)}) ")
    names = pc.list_element(pc.split_pattern(source_ids, " ", max_splits=1), 0)
    return pc.if_else(is_named, names, "product")


def _rounded_counts(lengths: np.ndarray) -> dict[str, int]:
    """Count lengths rounded down to two digits: 1234 counts as 1200."""
    if not len(lengths):
        return {}
    magnitude = 10 ** np.maximum(np.floor(np.log10(np.maximum(lengths, 1))).astype(int) - _DIGITS + 1, 0)
    values, counts = np.unique(lengths // magnitude * magnitude, return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def match_keys(context: Context, *, bucket: int, splits: Sequence[Sequence[str]]) -> Result:
    """Step: find equal examples and inputs in a bucket; mark repeats and leaks.

    Args:
        context: of the build.
        bucket: of inputs.
        splits: (task, domain, split) by split number.

    Returns:
        `repeats` (rows identical to an earlier one of their split, by split number), `shared` (rows whose example is
        also in the other split: [number, other number, rows]), `leaks` (the same for the input, of train against test).
    """
    table = read_bucket(context.storage, context.staging("keys"), bucket, KEYS)
    table = table.sort_by([("split_number", "ascending"), ("place", "ascending")])
    numbers, places = table["split_number"].to_numpy(), table["place"].to_numpy()
    examples, inputs = (
        pc.dictionary_encode(table[n].combine_chunks()).indices.to_numpy() for n in ("example_id", "input_key")
    )
    copies = _running_numbers(examples, numbers)
    shared = _shared_rows(examples, numbers, splits, only_leaks=False)
    leaks = _shared_rows(inputs, numbers, splits, only_leaks=True)
    is_leak = np.zeros(table.num_rows, bool)
    for rows in leaks.values():
        is_leak[rows] = True
    marked = (copies > 0) | is_leak
    marks = pa.table(
        [pa.array(column[marked]) for column in (numbers, places, copies, is_leak)], names=MARKS.names
    ).cast(MARKS)
    write_staged(context.storage, marks_path(context, bucket), marks)
    return {
        "repeats": {str(n): int(((copies > 0) & (numbers == n)).sum()) for n in np.unique(numbers)},
        "shared": [[*pair, len(rows)] for pair, rows in shared.items()],
        "leaks": [[*pair, len(rows)] for pair, rows in leaks.items()],
        "num_leaks": {str(n): int((is_leak & (numbers == n)).sum()) for n in np.unique(numbers)},
    }


def _running_numbers(codes: IntArray, numbers: IntArray) -> IntArray:
    """Return for each row how many rows of the same code and split come before it."""
    order = np.lexsort((np.arange(len(codes)), numbers, codes))
    is_new = np.ones(len(codes), bool)
    is_new[1:] = (codes[order][1:] != codes[order][:-1]) | (numbers[order][1:] != numbers[order][:-1])
    starts = np.maximum.accumulate(np.where(is_new, np.arange(len(codes)), 0))
    result = np.empty(len(codes), np.int64)
    result[order] = np.arange(len(codes)) - starts
    return result


def _shared_rows(
    codes: IntArray, numbers: IntArray, splits: Sequence[Sequence[str]], *, only_leaks: bool
) -> dict[tuple[int, int], IntArray]:
    """Return the rows of a split whose code is also in another split of the task, by (number, other number).

    With `only_leaks`: of train splits against test splits. Else each pair of splits once.
    """
    result = {}
    present = np.unique(numbers)
    for number in present:
        task, _, split = splits[number]
        own = np.flatnonzero(numbers == number)
        for other in present:
            other_task, _, other_split = splits[other]
            wanted = (split, other_split) == ("train", "test") if only_leaks else number < other
            if task == other_task and wanted:
                rows = own[np.isin(codes[own], codes[numbers == other])]
                if len(rows):
                    result[int(number), int(other)] = rows
    return result


def match_ids(context: Context, *, bucket: int, splits: Sequence[Sequence[str]]) -> Result:
    """Step: count the products, users and queries of a bucket that train shares with a test split.

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
