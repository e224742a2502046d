"""The last steps of a build: samples of all settings from the selected examples, written column by column.

One step reads the examples of a part once and writes them for every setting: with another instruction each, and in
the 1-shot settings with the train example of the same row number shown.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import IntArray
from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.hashing import DIGEST_BYTES, text_bytes, words_of
from ecellm.dataset.instructions import Instructions
from ecellm.dataset.marks import read_marks
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.quality.contents import count_contents, groups_of, send_ids
from ecellm.dataset.sample import id_ending
from ecellm.dataset.selection import Selected, SplitKey, cut_pieces, iter_rows
from ecellm.schema import SAMPLES
from ecellm.settings import SETTINGS, Setting
from ecellm.storage import Storage, join

_REPEATING_COLUMNS = (
    "task", "split", "setting", "domain", "instruction_kind", "instruction_index", "num_shots", "instruction",
    "options", "output", "category", "source",
)  # fmt: skip

_GROUP_BYTES, _LEAST_GROUP_ROWS, _MOST_GROUP_ROWS = 4 << 20, 256, 8192
_MARKER = b"\xff" * DIGEST_BYTES


def settings_of(key: SplitKey) -> list[Setting]:
    """Return the settings that a split's examples appear in: unseen and 1-shot are test alone."""
    return [
        setting
        for setting in SETTINGS.values()
        if setting.domain == key.domain
        and (key.split == "test" or (setting.instruction_kind != "unseen" and not setting.num_shots))
    ]


def write_steps(
    chosen: Mapping[SplitKey, Selected], catalogue: Mapping[str, Instructions], *, number: int, drops_leaks: bool
) -> list[Step]:
    """Return the steps that write all samples, one a part of a split; `number` is that of the buckets of ids."""
    numbers = {key: number for number, key in enumerate(chosen)}
    steps = []
    for key, selected in chosen.items():
        train_key = SplitKey(key.task, "IND", "train")
        train = chosen.get(train_key)
        shots = None
        if key.split == "test" and train is not None:
            shots = {"split_number": numbers[train_key], "rows": train.num_rows, "pieces": list(train.pieces)}
        wordings = catalogue[key.task]
        for part in selected.parts():
            arguments = {
                "key": list(key),
                "split_number": numbers[key],
                "source": selected.source,
                "part": part,
                "shots": shots,
                "wordings": {"diverse": list(wordings.diverse), "unseen": wordings.unseen},
                "number": number,
                "drops_leaks": drops_leaks,
            }
            name = join("write", key.task, key.domain, key.split, f"{part['number']:05d}")
            steps.append(Step(name, write_part, arguments, cost=part["cost"] * len(settings_of(key))))
    return steps


def write_part(
    context: Context,
    *,
    key: Sequence[str],
    split_number: int,
    source: str,
    part: Mapping[str, Any],
    shots: Mapping[str, Any] | None,
    wordings: Mapping[str, Any],
    number: int,
    drops_leaks: bool,
) -> Result:
    """Step: write one part of a split for every setting, and look at what it holds.

    Args:
        context: of the build.
        key: task, domain, split.
        split_number: of the split, as its marks are kept.
        source: the raw source.
        part: as `Selected.parts` gives it.
        shots: the train split of the task: `split_number`, `rows`, `pieces`; None if there is none.
        wordings: the task's instructions: `diverse`, `unseen`.
        number: of buckets of ids.
        drops_leaks: whether train rows that leak are left out.

    Returns:
        `rows` and `counts` ([setting, split, task, rows]), `num_unseen_in_train`, `split_number`, `groups`, and what
        `count_contents` returns.
    """
    split_key = SplitKey(*key)
    instructions = Instructions(tuple(wordings["diverse"]), wordings["unseen"])
    marks = read_marks(context, split_number, drops_leaks=drops_leaks)
    first, count = part["first"], part["rows"]
    is_kept = marks.is_kept(first, count)
    examples = pa.concat_tables(list(iter_rows(context.storage, part["pieces"]))).filter(pa.array(is_kept))
    examples = examples.combine_chunks()
    send_ids(context, examples, split_key.task, split_number=split_number, part=part["number"], number=number)
    rows = _Rows(examples, marks.rows_before(first), marks.copies_of(first, count)[is_kept], source)
    few_shot = _shots(context, shots, rows, drops_leaks=drops_leaks)
    counts, num_unseen = [], 0
    for setting in settings_of(split_key):
        if setting.num_shots and few_shot is None:
            continue  # without train examples there is none to show
        partition = Partition(setting.name, split_key.split, split_key.task)
        indices = instructions.indices(setting, rows.words, context.seed)
        table = rows.samples(partition, instructions, indices, few_shot if setting.num_shots else None)
        if split_key.split == "train":
            num_unseen += pc.sum(pc.equal(table["instruction"], instructions.unseen)).as_py() or 0
        path = join(partition.directory(context.output_dir), part_name(part["number"]))
        write_samples(context.storage, path, table)
        counts.append([*(partition.setting, partition.split, partition.task), table.num_rows])
    return {
        "rows": sum(own[-1] for own in counts),
        "counts": counts,
        "num_unseen_in_train": num_unseen,
        "split_number": split_number,
        "groups": groups_of(examples, split_key.task),
        **count_contents(examples, split_key.task),
    }


def write_samples(storage: Storage, path: str, table: pa.Table) -> None:
    """Publish samples in row groups of about 4 MiB: a later stage decodes one to read a few rows.

    Only columns whose values repeat get a dictionary, which the others would pay for without gain.
    """
    rows = max(_LEAST_GROUP_ROWS, min(_MOST_GROUP_ROWS, _GROUP_BYTES * table.num_rows // max(1, table.nbytes)))
    with storage.table_writer(path, table.schema, use_dictionary=list(_REPEATING_COLUMNS)) as writer:
        writer.write_table(table, row_group_size=rows)


def _shots(context: Context, shots: Mapping[str, Any] | None, rows: "_Rows", *, drops_leaks: bool) -> pa.Array | None:
    """Return the example that each row shows: the train example of the row's number, counted round."""
    if shots is None:
        return None
    marks = read_marks(context, shots["split_number"], drops_leaks=drops_leaks)
    num_train = marks.rows_before(shots["rows"])
    if not num_train:
        return None
    wanted = marks.places_of((rows.first_row + np.arange(rows.num_rows)) % num_train)
    places = np.unique(wanted)
    tables = [
        table
        for start, end in _runs(places)
        for table in iter_rows(
            context.storage, cut_pieces(shots["pieces"], start, end - start), ["input", "options", "output"]
        )
    ]
    examples = pa.concat_tables(tables).combine_chunks()
    texts = shot_texts(*(examples[name].combine_chunks() for name in ("input", "options", "output")))
    return texts.take(pa.array(np.searchsorted(_expanded(places), wanted)))


def shot_texts(inputs: pa.Array, options: pa.Array, outputs: pa.Array) -> pa.Array:
    """Return examples as `Example.as_shot` writes them: string [num_examples]."""
    listed = pc.fill_null(pc.binary_join_element_wise("\nOptions: ", options, ""), "")
    return pc.binary_join_element_wise("Input: ", inputs, listed, "\nAnswer: ", outputs, "")


def _runs(places: IntArray) -> list[tuple[int, int]]:
    """Return the runs of places that are read together: at most two, where the count of train rows goes round."""
    if not len(places):
        return []
    gaps = np.flatnonzero(np.diff(places) > _LARGEST_GAP)
    starts = np.concatenate([[0], gaps + 1])
    ends = np.concatenate([gaps, [len(places) - 1]])
    return [(int(places[low]), int(places[high]) + 1) for low, high in zip(starts, ends, strict=True)]


# Places between two wanted ones that are read along with them: those of rows left out as leaks.
_LARGEST_GAP = 256


def _expanded(places: IntArray) -> IntArray:
    """Return all places that `_runs` covers, in order."""
    runs = _runs(places)
    return np.concatenate([np.arange(start, end) for start, end in runs]) if runs else places


class _Rows:
    """The examples of a part, with what all settings share.

    Args:
        examples: rows of `RANKED`.
        first_row: row number of the first.
        copies: how many identical examples come before each.
        source: the raw source.
    """

    def __init__(self, examples: pa.Table, first_row: int, copies: IntArray, source: str) -> None:
        self.first_row = first_row
        self.num_rows = examples.num_rows
        self.words = words_of(examples["example_id"])
        self._examples = examples
        self._copies = copies
        self._source = source
        self._ids: list[bytes] = examples["example_id"].to_pylist()
        self._example_ids = _hex(b"".join(self._ids))

    def samples(
        self, partition: Partition, instructions: Instructions, indices: IntArray, few_shot: pa.Array | None
    ) -> pa.Table:
        """Return the samples of one setting as a table of `schema.SAMPLES`."""
        meaning = SETTINGS[partition.setting]
        wordings = pa.array(instructions.wordings, pa.string())
        columns: dict[str, Any] = {
            "sample_id": self._sample_ids(partition, instructions, indices, few_shot),
            "example_id": self._example_ids,
            "row_index": pa.array(np.arange(self.first_row, self.first_row + self.num_rows)),
            "instruction_index": pa.array(indices.astype(np.int8)),
            "instruction": wordings.take(pa.array(indices)),
            "few_shot_example": pa.nulls(self.num_rows, pa.string()) if few_shot is None else few_shot,
            **{name: self._examples[name] for name in ("input", "output", "options", "category", "source_ids")},
            "relevance": self._examples["relevance"],
        }
        constants: dict[str, str | int] = {
            "task": partition.task,
            "split": partition.split,
            "setting": partition.setting,
            "domain": meaning.domain,
            "instruction_kind": meaning.instruction_kind,
            "num_shots": meaning.num_shots,
            "source": self._source,
        }
        arrays = [
            _constant(constants[field.name], self.num_rows, field.type)
            if field.name in constants
            else pc.cast(columns[field.name], field.type)
            for field in SAMPLES
        ]
        return pa.table(arrays, schema=SAMPLES)

    def _sample_ids(
        self, partition: Partition, instructions: Instructions, indices: IntArray, few_shot: pa.Array | None
    ) -> pa.Array:
        """Return the ids that `SampleNumberer` gives; the beginning that rows share is hashed once."""
        key = b"".join(map(text_bytes, (partition.task, partition.split, partition.setting)))
        starts = [blake2b(key + text_bytes(text), digest_size=DIGEST_BYTES) for text in instructions.wordings]
        digests = bytearray()
        for index, ending in zip(indices.tolist(), self._endings(few_shot), strict=True):
            hasher = starts[index].copy()
            hasher.update(ending)
            digests += hasher.digest()
        return _hex(bytes(digests))

    def _endings(self, few_shot: pa.Array | None) -> list[bytes]:
        """Return what enters each row's hash behind its instruction."""
        if few_shot is None and not self._copies.any():
            before, _, after = id_ending(None, _MARKER, 0).partition(_MARKER)
            return [before + own + after for own in self._ids]
        shots = few_shot.to_pylist() if few_shot is not None else repeat(None, self.num_rows)
        return [id_ending(*row) for row in zip(shots, self._ids, self._copies.tolist(), strict=True)]


def _hex(digests: bytes) -> pa.Array:
    """Return 16-byte digests, one behind the other, as texts of 32 hex digits."""
    width = 2 * DIGEST_BYTES
    data = pa.py_buffer(digests.hex().encode())
    return (
        pa.Array.from_buffers(pa.binary(width), len(digests) // DIGEST_BYTES, [None, data])
        .cast(pa.binary())
        .cast(pa.string())
    )


def _constant(value: str | int, count: int, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        indices = pa.array(np.zeros(count, np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, kind), count)
