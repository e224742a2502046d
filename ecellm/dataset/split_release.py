"""First half of ingest: one pass over the input, in constant memory, into staged Parquet chunks.

Each chunk holds a slice of the input with its rows grouped by partition, one row group each, so that the second half
can read one partition from all chunks in parallel. `split.json`, written last, says what lies where.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ecellm.config import OwnDataDefaults, StorageConfig
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.raw_row import RawSample, read_raw_row
from ecellm.dataset.sample import TEXT_FIELDS
from ecellm.errors import InputError
from ecellm.settings import SETTINGS
from ecellm.sources.records import Quarantine
from ecellm.sources.release import iter_raw_rows
from ecellm.storage import Storage, join
from ecellm.visible_text import short_repr

SPLIT_NAME = "split.json"
STAGED = pa.schema([(name, pa.string()) for name in TEXT_FIELDS])
_CHUNK_BYTES = 4 << 20
# A catalogue has six instructions a task; own data may word each row anew, which is no catalogue.
_MAX_INSTRUCTIONS = 64


class _Splitter:
    """Collects rows by partition and writes a chunk whenever enough text has come together."""

    def __init__(self, storage: Storage, staging_dir: str) -> None:
        self._storage = storage
        self._dir = staging_dir
        self._rows: dict[Partition, list[dict[str, str | None]]] = defaultdict(list)
        self._num_bytes = 0
        self.chunks: list[dict[str, Any]] = []
        self.instructions: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, sample: RawSample) -> None:
        """Take one row."""
        self._rows[sample.partition].append(sample.texts)
        self._num_bytes += sum(len(text) for text in sample.texts.values() if text)
        self._note_instruction(sample)
        if self._num_bytes >= _CHUNK_BYTES:
            self.flush()

    def _note_instruction(self, sample: RawSample) -> None:
        known = self.instructions[sample.partition.task, SETTINGS[sample.partition.setting].instruction_kind]
        text = sample.texts["instruction"] or ""
        if len(known) < _MAX_INSTRUCTIONS and text not in known:
            known.append(text)

    def flush(self) -> None:
        """Write the rows at hand as one chunk."""
        if not self._rows:
            return
        path = join(self._dir, part_name(len(self.chunks)))
        groups = []
        with self._storage.table_writer(path, STAGED) as writer:
            for row_group, partition in enumerate(sorted(self._rows)):
                rows = self._rows[partition]
                writer.write_table(pa.Table.from_pylist(rows, schema=STAGED), row_group_size=len(rows))
                groups.append({"partition": list(_key(partition)), "row_group": row_group, "num_rows": len(rows)})
        self.chunks.append({"file": path, "groups": groups})
        self._rows.clear()
        self._num_bytes = 0


def _key(partition: Partition) -> tuple[str, str, str]:
    return partition.setting, partition.split, partition.task


def split_release(
    release: str,
    output_dir: str,
    storage_config: Mapping[str, Any],
    defaults: Mapping[str, Any],
    on_bad_row: str,
) -> dict[str, Any]:
    """Stage the input below `output_dir/staging`; return (and write) what `split.json` holds.

    Returns:
        `chunks` (file, row groups by partition), `instructions` ([task, kind, texts]), `num_rows`, `num_bad_rows`.

    Raises:
        InputError: the input is unreadable, holds no rows, or has a bad row while `on_bad_row` is `fail`.
    """
    storage = Storage(StorageConfig(**storage_config))
    staging_dir = join(output_dir, "staging")
    marker = join(staging_dir, SPLIT_NAME)
    if storage.exists(marker):
        return dict(storage.read_json(marker))
    own_defaults = OwnDataDefaults(**defaults)
    splitter = _Splitter(storage, staging_dir)
    bad_rows = _BadRows(storage, output_dir, release, on_bad_row)
    try:
        num_rows = _split(iter_raw_rows(storage, release), own_defaults, splitter, bad_rows)
    except InputError:
        storage.remove(staging_dir)  # of an input that must be mended nothing can be gone on from
        raise
    result = {
        "chunks": splitter.chunks,
        "instructions": [[task, kind, texts] for (task, kind), texts in sorted(splitter.instructions.items())],
        "num_rows": num_rows,
        "num_bad_rows": bad_rows.num_rows,
    }
    storage.write_json(marker, result)
    return result


def _split(
    rows: Iterator[tuple[int, Any]], defaults: OwnDataDefaults, splitter: _Splitter, bad_rows: "_BadRows"
) -> int:
    """Send each row where it belongs; return how many there were."""
    num_rows = 0
    for number, raw in rows:
        num_rows += 1
        try:
            sample = read_raw_row(raw, defaults)
        except InputError as error:
            bad_rows.add(number, raw, str(error))
            continue
        splitter.add(sample)
    splitter.flush()
    bad_rows.flush()
    if not splitter.chunks:
        raise InputError(f"{bad_rows.file}: none of the {num_rows:,} rows is usable")
    return num_rows


class _BadRows:
    """Stops at the first bad row, or writes bad rows to `quarantine/`."""

    def __init__(self, storage: Storage, output_dir: str, file: str, on_bad_row: str) -> None:
        self.file = file
        self._fail = on_bad_row == "fail"
        self._quarantine = Quarantine(storage, join(output_dir, "quarantine"), file)

    @property
    def num_rows(self) -> int:
        """How many there were."""
        return self._quarantine.num_rows

    def add(self, number: int, raw: Any, reason: str) -> None:
        """Take one bad row, whose place in the input is `number`."""
        if self._fail:
            raise InputError(
                f"{self.file}: row {number} (counted from 0): {reason}. "
                "on_bad_row=quarantine writes such rows to quarantine/ and goes on"
            )
        self._quarantine.add(_shown(raw), reason, row_number=number)

    def flush(self) -> None:
        """Write the rows at hand."""
        self._quarantine.flush()


def _shown(raw: Any) -> str:
    """Return a row of any form as text that Arrow can hold, hence ASCII escapes."""
    try:
        return json.dumps(raw, default=str)
    except (RecursionError, ValueError, TypeError):  # readable, but too deep or too odd to be written again
        return ascii(short_repr(raw))
