"""One row of the samples contract, made from its texts and its place. Plain Python on plain rows."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from ecellm.dataset.hashing import DIGEST_BYTES, hash_texts, text_bytes
from ecellm.dataset.partitions import Partition
from ecellm.errors import InputError
from ecellm.schema import SAMPLES
from ecellm.settings import SETTINGS

TEXT_FIELDS = ("instruction", "input", "options", "output", "few_shot_example")
_EXAMPLE_FIELDS = ("input", "options", "output")
# Later stages read a few hundred rows at a time: no more than one row group of this size is decoded for them.
SAMPLES_ROW_GROUP_ROWS = 1024


def id_ending(few_shot_example: str | None, example_id: bytes, copy: int) -> bytes:
    """Return what enters a sample's hash behind its key and instruction."""
    return text_bytes(few_shot_example) + example_id + copy.to_bytes(8, "big")


class SampleNumberer:
    """Gives rows of one (task, split, setting) their ids and places, in the order in which they come.

    The id of a row is made of its content alone: of its key, its instruction, the example that it shows, and its
    example's id, which is itself made of input, options and output, so that long texts are hashed once for all
    settings. Of rows with the same instruction and example each gets a running number, which enters its id too.
    """

    def __init__(self, partition: Partition) -> None:
        self._key = b"".join(map(text_bytes, (partition.task, partition.split, partition.setting)))
        self._task = partition.task
        # Of each row a digest, some 100 bytes with the set's own: a million instructions would be much more.
        self._seen: set[bytes] = set()
        self._copies: dict[bytes, int] = {}
        self._num_rows = 0

    def number(self, texts: Mapping[str, str | None]) -> dict[str, Any]:
        """Return `sample_id`, `example_id` and `row_index` of the next row.

        Args:
            texts: values of `TEXT_FIELDS`.
        """
        example_id = hash_texts([self._task, *(texts[name] for name in _EXAMPLE_FIELDS)])
        shot, start = texts["few_shot_example"], self._key + text_bytes(texts["instruction"])
        # Whatever a 1-shot row shows: so the number of a repeat is known before its row's shot is.
        digest = blake2b(start + example_id, digest_size=DIGEST_BYTES).digest()
        copy = 0
        if digest in self._seen:
            copy = self._copies[digest] = self._copies.get(digest, 0) + 1
        self._seen.add(digest)
        content = blake2b(start + id_ending(shot, example_id, copy), digest_size=DIGEST_BYTES)
        row_index = self._num_rows
        self._num_rows += 1
        return {"sample_id": content.hexdigest(), "example_id": example_id.hex(), "row_index": row_index}


def sample_row(
    numberer: SampleNumberer,
    texts: Mapping[str, str | None],
    partition: Partition,
    *,
    instruction_index: int | None = None,
    relevance: list[str] | None = None,
    category: str | None = None,
    source: str | None = None,
    source_ids: list[str] | None = None,
) -> dict[str, Any]:
    """Return one samples row as a dict with every column of `schema.SAMPLES`."""
    meaning = SETTINGS[partition.setting]
    return {
        **numberer.number(texts),
        "task": partition.task,
        "split": partition.split,
        "setting": partition.setting,
        "domain": meaning.domain,
        "instruction_kind": meaning.instruction_kind,
        "instruction_index": instruction_index,
        "num_shots": meaning.num_shots,
        **{name: texts[name] for name in TEXT_FIELDS},
        "relevance": relevance,
        "category": category,
        "source": source,
        "source_ids": source_ids,
    }


def samples_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as an Arrow table of `schema.SAMPLES`."""
    return pa.Table.from_pylist(rows, schema=SAMPLES)


def check_text(name: str, value: object, *, nullable: bool) -> str | None:
    """Return `value` if it is text that Arrow can hold (or null where that is allowed).

    Raises:
        InputError: it is not; the message names the field.
    """
    if value is None and nullable:
        return None
    if not isinstance(value, str):
        raise InputError(f"{name} must be text{' or null' if nullable else ''}, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{name} holds a lone surrogate, which is not text") from None
    return value
