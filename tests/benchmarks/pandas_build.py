"""The benchmark's opponent: PRP, SA and SR samples made by one process with pandas, NumPy and pyarrow.

    python -m tests.benchmarks.pandas_build RAW_DIR OUTPUT_DIR [--tasks PRP,SA,SR] [--threads N] [--ids]

What goes in: the Amazon Review files of a local raw directory (the paper's categories). What comes out: every sample of
all eight settings, one zstd Parquet file per setting, split and task under OUTPUT_DIR/data/, with the columns of
`ecellm.schema.SAMPLES` (columns whose values repeat are categorical), the two ids only with `--ids`. It is written for speed: pyarrow
parses the files (only the fields that are needed), rows are codes until the last moment, texts are joined in Arrow, and
N threads of the one process read and write files (default: all CPUs). All is in memory at once.

Prints the seconds of each phase: reading (with SR's 5-core and item texts), each task's examples, and what is then left
to write, since files are written beside the phases of the tasks; then rows and SR users a second of the whole run, the
CPU seconds, and the process's peak memory. Imports are not in the seconds. `--tasks SR` tells SR's own pace.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import ecellm
from ecellm.dataset.hashing import hash_messages, messages_of, text_bytes
from ecellm.dataset.sample import id_ending
from ecellm.schema import CATEGORY, SAMPLES
from ecellm.settings import SETTINGS, Setting
from tests.benchmarks.pandas_examples import (
    SPLITS,
    coded,
    constant,
    read_products,
    read_reviews,
    relation_examples,
    sentiment_examples,
)
from tests.benchmarks.pandas_sequences import Sequences, read_sequences, sequence_examples

NAMES = {"PRP": "Product_Relation_Prediction", "SA": "Sentiment_Analysis", "SR": "Sequential_Recommendation"}
CATEGORIES = {
    "IND": ("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors"),
    "OOD": ("Tools_and_Home_Improvement",),
}
# Categorical where values repeat: such a column is written as it is, without hashing every row's text.
DISTINCT = ("input", "few_shot_example")
SCHEMA = pa.schema(
    [
        field.with_type(CATEGORY) if field.type == pa.string() and field.name not in DISTINCT else field
        for field in SAMPLES
        if field.name not in ("sample_id", "example_id")
    ],
    SAMPLES.metadata,
)
Place = tuple[str, str]
Tables = dict[Place, pa.Table]  # by domain and split


class Sources(NamedTuple):
    """What was read, by domain and category."""

    products: dict[Place, pa.Table]
    reviews: dict[Place, pa.Table]
    sequences: dict[Place, Sequences]


def read(raw_dir: Path, tasks: Sequence[str], pool: ThreadPoolExecutor) -> Sources:
    """Read what the tasks need. The pool begins in this order, so no sequences wait for products that cannot begin."""
    places = [(domain, category) for domain, names in CATEGORIES.items() for category in names]
    products = {
        place: pool.submit(read_products, raw_dir, place[1]) for place in places if "PRP" in tasks or "SR" in tasks
    }
    reviews = {place: pool.submit(read_reviews, raw_dir, place[1]) for place in places if "SA" in tasks}

    def read_place(place: Place) -> Sequences:
        return read_sequences(raw_dir, place[1], products[place].result())

    sequences = {place: pool.submit(read_place, place) for place in places if "SR" in tasks}
    return Sources(_results(products), _results(reviews), _results(sequences))


def make(task: str, sources: Sources, rng: np.random.Generator) -> Tables:
    """Make a task's examples."""
    found: dict[Place, list[pa.Table]] = {}

    def add(domain: str, tables: Mapping[str, pa.Table]) -> None:
        for split, table in tables.items():
            found.setdefault((domain, split), []).append(table)

    if task == "SR":
        for domain, names in CATEGORIES.items():
            bought = {category: sources.sequences[domain, category] for category in names}
            add(domain, sequence_examples(bought, domain, rng))
    elif task == "SA":
        for (domain, category), reviews in sources.reviews.items():
            add(domain, sentiment_examples(reviews, category, domain, rng))
    else:
        for (domain, category), products in sources.products.items():
            add(domain, relation_examples(products, category, domain, rng))
    return {place: pa.concat_tables(tables).unify_dictionaries() for place, tables in found.items()}


def _results(futures: Mapping[Place, Future[Any]]) -> dict[Place, Any]:
    return {place: future.result() for place, future in futures.items()}


class Writer:
    """Writes a task's samples of all settings, each file by a thread of the pool."""

    def __init__(
        self, output_dir: Path, pool: ThreadPoolExecutor, rng: np.random.Generator, *, has_ids: bool = False
    ) -> None:
        self.output_dir, self.pool, self.rng, self.has_ids = output_dir, pool, rng, has_ids
        catalogue = Path(ecellm.__file__).parent / "tasks" / "instructions.json"
        self.instructions = json.loads(catalogue.read_text(encoding="utf-8"))["tasks"]
        self.written: list[Future[int]] = []

    def write(self, task: str, tables: Tables) -> None:
        """Start to write a task's samples of all settings."""
        shots = _shots(tables["IND", "train"], len(tables["IND", "test"]), len(tables["OOD", "test"]))
        ids = {place: example_ids(NAMES[task], table) if self.has_ids else None for place, table in tables.items()}
        for setting in SETTINGS.values():
            is_test_only = setting.domain == "OOD" or setting.instruction_kind == "unseen" or setting.num_shots
            for split in ("test",) if is_test_only else SPLITS:
                table = tables[setting.domain, split]
                index = self._instruction_indices(task, setting, len(table))
                own = ids[setting.domain, split]
                self.written.append(self.pool.submit(self._write_one, task, setting, split, table, index, shots, own))

    def _instruction_indices(self, task: str, setting: Setting, num_rows: int) -> np.ndarray:
        num_diverse = len(self.instructions[task]["diverse"])
        if setting.instruction_kind == "diverse":
            return self.rng.integers(0, num_diverse, num_rows, np.int8)
        return np.full(num_rows, 0 if setting.instruction_kind == "single" else num_diverse, np.int8)

    def _write_one(
        self,
        task: str,
        setting: Setting,
        split: str,
        table: pa.Table,
        index: np.ndarray,
        shots: pa.ChunkedArray,
        ids: list[bytes] | None,
    ) -> int:
        folder = self.output_dir / "data" / f"setting={setting.name}" / f"split={split}" / f"task={NAMES[task]}"
        folder.mkdir(parents=True, exist_ok=True)
        num_rows = len(table)
        wordings = [*self.instructions[task]["diverse"], self.instructions[task]["unseen"]]
        columns = {
            **{name: table[name] for name in table.column_names},
            "task": constant(NAMES[task], num_rows),
            "split": constant(split, num_rows),
            "setting": constant(setting.name, num_rows),
            "row_index": pa.array(np.arange(num_rows)),
            "domain": constant(setting.domain, num_rows),
            "instruction_kind": constant(setting.instruction_kind, num_rows),
            "instruction_index": pa.array(index),
            "num_shots": pa.repeat(pa.scalar(setting.num_shots, pa.int8()), num_rows),
            "instruction": coded(index, wordings),
            "few_shot_example": shots.slice(0, num_rows) if setting.num_shots else pa.nulls(num_rows, pa.string()),
            "relevance": pa.nulls(num_rows, pa.list_(pa.string())),
            "source": constant("amazon_review_2018", num_rows),
        }
        schema = SCHEMA
        if task == "SR":  # here options are texts of their own
            schema = SCHEMA.set(SCHEMA.get_field_index("options"), SAMPLES.field("options"))
        samples = pa.table([columns[name] for name in schema.names], schema=schema)
        if ids is not None:
            few_shot = columns["few_shot_example"] if setting.num_shots else None
            key = (NAMES[task], split, setting.name)
            samples = samples.add_column(0, "example_id", pa.array([own.hex() for own in ids]))
            samples = samples.add_column(0, "sample_id", pa.array(sample_ids(key, wordings, index, ids, few_shot)))
        pq.write_table(
            samples,
            folder / "part-00000.parquet",
            compression="zstd",
            use_dictionary=[field.name for field in schema if field.type == CATEGORY],
            write_statistics=["row_index"],
        )
        return num_rows


def example_ids(task: str, table: pa.Table) -> list[bytes]:
    """Return the ids of examples as the contract defines them."""
    columns = [pc.cast(table[name], pa.string()).combine_chunks() for name in ("input", "options", "output")]
    columns = [pa.concat_arrays(own.chunks) if isinstance(own, pa.ChunkedArray) else own for own in columns]
    return hash_messages(text_bytes(task), messages_of(*columns)).to_pylist()


def sample_ids(
    key: tuple[str, str, str],
    wordings: Sequence[str],
    index: np.ndarray,
    ids: list[bytes],
    few_shot: pa.ChunkedArray | None,
) -> list[str]:
    """Return the ids of samples as the contract defines them."""
    start = b"".join(map(text_bytes, key))
    starts = [blake2b(start + text_bytes(text), digest_size=16) for text in wordings]
    copies = pd.Series(ids).groupby(ids).cumcount().tolist()
    shots = [None] * len(ids) if few_shot is None else few_shot.to_pylist()
    result = []
    for number, shot, own, copy in zip(index.tolist(), shots, ids, copies, strict=False):
        hasher = starts[number].copy()
        hasher.update(id_ending(shot, own, copy))
        result.append(hasher.hexdigest())
    return result


def _shots(train: pa.Table, *num_rows: int) -> pa.ChunkedArray | pa.Array:
    """Write the train rows of the test rows' indices as examples; from the start again where train is shorter."""
    wanted = max(num_rows)
    if not len(train):
        return pa.nulls(wanted, pa.string())
    rows = train.slice(0, wanted) if wanted <= len(train) else train.take(pa.array(np.arange(wanted) % len(train)))
    options, output = (pc.cast(rows[name], pa.string()) for name in ("options", "output"))
    return pc.binary_join_element_wise("Input: ", rows["input"], "\nOptions: ", options, "\nAnswer: ", output, "")


@contextmanager
def phase(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Take the time of a phase."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def build(raw_dir: Path, output_dir: Path, tasks: list[str], threads: int, *, has_ids: bool, seed: int = 1) -> None:
    """Build, and print what it took."""
    start = time.perf_counter()
    pa.set_cpu_count(threads)
    pa.set_memory_pool(pa.system_memory_pool())  # measured: the default pool gives pages back too eagerly
    seconds: dict[str, float] = {}
    with ThreadPoolExecutor(threads) as pool:
        rng = np.random.default_rng(seed)
        writer = Writer(output_dir, pool, rng, has_ids=has_ids)
        with phase("read", seconds):
            sources = read(raw_dir, tasks, pool)
        for task in tasks:
            with phase(task, seconds):
                writer.write(task, make(task, sources, rng))
        with phase("write the rest", seconds):
            num_rows = sum(writing.result() for writing in writer.written)
    total = time.perf_counter() - start
    _report(seconds, total, num_rows, sum(len(sequences.lengths) for sequences in sources.sequences.values()))


def _report(seconds: Mapping[str, float], total: float, num_rows: int, num_users: int) -> None:
    lines = [f"{name:16}{value:9.2f} s" for name, value in [*seconds.items(), ("total", total)]]
    lines.append(f"{num_rows} rows, {num_rows / total:.0f} a second")
    if num_users:
        lines.append(f"{num_users} SR users, {num_users / total:.0f} a second")
    lines.append(f"{time.process_time():.2f} CPU seconds with imports")
    lines.append(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Build PRP, SA and SR samples in one process.")
    parser.add_argument("raw_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--tasks", default="PRP,SA,SR")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ids", action="store_true", help="make sample_id and example_id too, as the contract asks")
    arguments = parser.parse_args()
    tasks = arguments.tasks.split(",")
    if unknown := set(tasks) - set(NAMES):
        parser.error(f"unknown tasks: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    build(arguments.raw_dir, arguments.output_dir, tasks, arguments.threads, has_ids=arguments.ids)


if __name__ == "__main__":
    main()
