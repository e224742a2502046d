"""First look at the selected examples: their hashes go to buckets, where equal ones meet.

    part of a split ──by input──► who has the same example or input, in which splits

Only hashes are read, never the texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import ExchangeWriter, IntArray, read_bucket, write_staged
from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.hashing import words_of
from ecellm.dataset.marks import MARKS, marks_path
from ecellm.dataset.selection import Selected, SplitKey, iter_rows
from ecellm.storage import join

KEYS = pa.schema(
    [("input_key", pa.uint64()), ("example_id", pa.uint64()), ("split_number", pa.int32()), ("place", pa.int64())]
)


def key_steps(chosen: Mapping[SplitKey, Selected], number: int) -> list[Step]:
    """Return the steps that read the keys of all parts."""
    return [
        Step(
            join("keys", f"{split_number:05d}", f"{part['number']:05d}"),
            read_keys,
            {"split_number": split_number, "part": part, "number": number},
            cost=part["rows"],
        )
        for split_number, selected in enumerate(chosen.values())
        for part in selected.parts()
    ]


def read_keys(context: Context, *, split_number: int, part: Mapping[str, Any], number: int) -> Result:
    """Step: send the keys of a part to their buckets."""
    table = pa.concat_tables(list(iter_rows(context.storage, part["pieces"], ["input_key", "example_id"])))
    places = np.arange(part["first"], part["first"] + table.num_rows)
    numbers = np.full(table.num_rows, split_number, np.int32)
    ids = pa.array(words_of(table["example_id"]))
    keys = pa.table([table["input_key"], ids, pa.array(numbers), pa.array(places)], KEYS)
    name = f"{split_number:05d}-{part['number']:05d}"
    with ExchangeWriter(context.storage, context.staging("keys"), name, KEYS, number) as writer:
        writer.add(keys, (table["input_key"].to_numpy() % np.uint64(number)).astype(np.int64))
    return {"rows": table.num_rows}


def match_keys(context: Context, *, bucket: int, splits: Sequence[Sequence[str]], drops_leaks: bool) -> Result:
    """Step: find equal examples and inputs in a bucket; mark repeats and leaks.

    Args:
        context: of the build.
        bucket: of inputs.
        splits: (task, domain, split) by split number.
        drops_leaks: whether train rows that leak are left out: then they are no duplicates of others.

    Returns:
        `leaks` (rows whose input is also in a test split, of train: [number, test's number, rows]), `num_leaks` (the
        same by split number, each row once), `repeats` (rows identical to an earlier one of their split, by split
        number), `shared` (rows whose example is also in another split: [number, other number, rows]).
    """
    table = read_bucket(context.storage, context.staging("keys"), bucket, KEYS)
    table = table.sort_by([("split_number", "ascending"), ("place", "ascending")])
    numbers, places = table["split_number"].to_numpy(), table["place"].to_numpy()
    examples, inputs = (
        pc.dictionary_encode(table[n].combine_chunks()).indices.to_numpy() for n in ("example_id", "input_key")
    )
    leaks = _shared_rows(inputs, numbers, splits, only_leaks=True)
    is_leak = np.zeros(table.num_rows, bool)
    for rows in leaks.values():
        is_leak[rows] = True
    # Identical examples have one input: they leak together, and the numbers of those that stay do not change.
    copies = _running_numbers(examples, numbers)
    is_kept = ~is_leak if drops_leaks else np.ones(table.num_rows, bool)
    shared = _shared_rows(examples[is_kept], numbers[is_kept], splits, only_leaks=False)
    marked = (copies > 0) | is_leak
    marks = pa.table(
        [pa.array(column[marked]) for column in (numbers, places, copies, is_leak)], names=MARKS.names
    ).cast(MARKS)
    write_staged(context.storage, marks_path(context, bucket), marks)
    return {
        "repeats": _by_number(numbers, (copies > 0) & is_kept),
        "shared": [[*pair, len(rows)] for pair, rows in shared.items()],
        "leaks": [[*pair, len(rows)] for pair, rows in leaks.items()],
        "num_leaks": _by_number(numbers, is_leak),
    }


def _by_number(numbers: IntArray, is_counted: npt.NDArray[np.bool_]) -> dict[str, int]:
    return {str(number): int((is_counted & (numbers == number)).sum()) for number in np.unique(numbers)}


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
