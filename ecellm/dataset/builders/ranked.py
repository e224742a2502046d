"""Examples in the order of a rank: what every flow ends with, and what samples are then drawn from.

A rank is a 64-bit hash of seed and content. Examples are put in buckets by the rank's upper bits, each bucket is
sorted, and so the buckets one after the other are sorted as a whole. The first n of them are a random sample of n;
the first 80 % a random split: both without looking at more than the counts, whatever the number of buckets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders.exchange import (
    ExchangeWriter,
    UIntArray,
    buckets_of_ranks,
    read_bucket,
    write_staged,
)
from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.hashing import (
    DIGEST,
    hash_messages,
    keys_of_texts,
    messages_of,
    ranks_of_words,
    text_bytes,
    words_of,
)
from ecellm.storage import join
from ecellm.tasks.example import Example

RANKED = pa.schema(
    [
        ("rank", pa.uint64()),
        ("example_id", DIGEST),
        ("input_key", pa.uint64()),
        ("place", pa.int64()),
        ("category", pa.string()),
        ("num_chars", pa.int32()),
        ("source_ids", pa.list_(pa.string())),  # products as they are, then others as "user A1", "query 7"
        ("output", pa.string()),
        ("input", pa.string()),
        ("options", pa.string()),
        ("relevance", pa.list_(pa.string())),
    ]
)
# Two examples of one rank have the same content, but for chance; then where they come from decides.
ORDER = [("rank", "ascending"), ("example_id", "ascending"), ("category", "ascending"), ("place", "ascending")]
ID_KINDS = ("user", "query", "question", "example", "attribute")
RANDOM_SPLIT = (("train", 0.8), ("val", 0.1), ("test", 0.1))
HALVED_TEST = (("val", 0.5), ("test", 0.5))


@dataclass(frozen=True)
class RankedSet:
    """Ranked examples of one source, with the splits that they are divided into.

    Attributes:
        task: canonical name.
        domain: IND or OOD.
        category: product category; None where categories are not told apart.
        shares: (split, share) in the order of ranks; shares add up to 1.
        buckets: (file, rows, bytes of text) of each bucket, in order.
        source: the raw source.
    """

    task: str
    domain: str
    category: str | None
    shares: tuple[tuple[str, float], ...]
    buckets: tuple[tuple[str, int, int], ...]
    source: str

    @property
    def num_rows(self) -> int:
        """How many examples it has."""
        return sum(rows for _, rows, _ in self.buckets)


def given_split(split: str) -> tuple[tuple[str, float], ...]:
    """Return the shares of a set that is one split as a whole."""
    return ((split, 1.0),)


@dataclass(frozen=True)
class Columns:
    """Examples as Arrow columns, all of one length.

    Attributes:
        inputs: texts.
        outputs: texts.
        options: texts or null.
        source_ids: lists of texts.
        relevance: lists of ESCI labels; None where the task has none.
    """

    inputs: pa.Array
    outputs: pa.Array
    options: pa.Array
    source_ids: pa.Array
    relevance: pa.Array | None = None


def columns_of(examples: Sequence[Example]) -> Columns:
    """Return examples as columns."""
    return Columns(
        pa.array([example.input for example in examples], pa.string()),
        pa.array([example.output for example in examples], pa.string()),
        pa.array([example.options for example in examples], pa.string()),
        pa.array([example.source_ids for example in examples], pa.list_(pa.string())),
        pa.array([example.relevance for example in examples], pa.list_(pa.string())),
    )


def ranked_table(
    task: str,
    columns: Columns,
    *,
    seed: int,
    category: str | Sequence[str | None] | None = None,
    places: Sequence[int] | None = None,
    ranks: UIntArray | None = None,
) -> pa.Table:
    """Return examples as rows of `RANKED`, in the order given.

    Args:
        task: canonical name; part of what identifies an example.
        columns: the examples, at most some ten thousand.
        seed: of the ranks.
        category: of all of them or of each; None where the source has none.
        places: lines in the raw file, or another number that tells identical examples apart; default 0, 1, ...
        ranks: ranks already known; default the hash of each example's content.
    """
    count = len(columns.inputs)
    ids = hash_messages(text_bytes(task), messages_of(columns.inputs, columns.options, columns.outputs))
    if ranks is None:
        ranks = ranks_of_words(words_of(ids), seed, task)
    lengths = [pc.fill_null(pc.utf8_length(own), 0) for own in (columns.inputs, columns.options, columns.outputs)]
    is_one = category is None or isinstance(category, str)
    values: dict[str, Any] = {
        "rank": pa.array(ranks, pa.uint64()),
        "example_id": ids,
        "input_key": pa.array(keys_of_texts(columns.inputs)),
        "place": pa.array(range(count) if places is None else places, pa.int64()),
        "category": pa.repeat(pa.scalar(category, pa.string()), count) if is_one else pa.array(category, pa.string()),
        "num_chars": pc.add(pc.add(lengths[0], lengths[1]), lengths[2]),
        "source_ids": columns.source_ids,
        "output": columns.outputs,
        "input": columns.inputs,
        "options": columns.options,
        "relevance": pa.nulls(count, pa.list_(pa.string())) if columns.relevance is None else columns.relevance,
    }
    return pa.table(values, schema=RANKED)


class RankedWriter:
    """Sends examples to the buckets of their ranks, a few thousand at a time; use as a context manager.

    Args:
        context: of the build.
        name: of the set; `sort_steps` with the same name sorts it.
        writer: this writer's name, unique in the set.
        task: canonical name.
        number: of buckets.
    """

    _BATCH = 4096

    def __init__(self, context: Context, name: str, writer: str, *, task: str, number: int) -> None:
        self._exchange = ExchangeWriter(context.storage, unsorted_dir(context, name), writer, RANKED, number)
        self._seed = context.seed
        self._task = task
        self._number = number
        self._examples: list[Example] = []
        self._places: list[int] = []
        self._categories: list[str | None] = []
        self._ranks: list[int] = []

    def add(self, example: Example, place: int, category: str | None = None, rank: int | None = None) -> None:
        """Take one example.

        Args:
            example: the example.
            place: its line in the raw file, or another number that tells identical examples apart.
            category: its product category.
            rank: None for the hash of its content; given for all of a writer's examples or for none.
        """
        self._examples.append(example)
        if rank is not None:
            self._ranks.append(rank)
        self._categories.append(category)
        self._places.append(place)
        if len(self._examples) >= self._BATCH:
            self._send()

    def add_columns(self, columns: Columns, places: Sequence[int], category: str | None) -> None:
        """Take some thousand examples at once."""
        self._exchange_table(ranked_table(self._task, columns, seed=self._seed, category=category, places=places))

    def _send(self) -> None:
        table = ranked_table(
            self._task,
            columns_of(self._examples),
            seed=self._seed,
            category=self._categories,
            places=self._places,
            ranks=np.array(self._ranks, np.uint64) if self._ranks else None,
        )
        self._exchange_table(table)
        self._examples, self._places, self._categories, self._ranks = [], [], [], []

    def _exchange_table(self, table: pa.Table) -> None:
        self._exchange.add(table, buckets_of_ranks(table["rank"].to_numpy(), self._number))

    @property
    def num_rows(self) -> int:
        """Examples taken."""
        return self._exchange.num_rows + len(self._examples)

    def __enter__(self) -> Self:
        self._exchange.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._examples:
            self._send()
        self._exchange.__exit__(kind)


def unsorted_dir(context: Context, name: str) -> str:
    """Return where the examples of a set lie before they are sorted."""
    return context.staging("unsorted", name)


def write_ranked(context: Context, name: str, bucket: int, table: pa.Table) -> Result:
    """Sort one bucket's examples and publish them; the result is what `ranked_set` takes."""
    path = context.staging("ranked", name, f"{bucket:05d}.parquet")
    write_staged(context.storage, path, table.sort_by(ORDER))
    num_bytes = int(table["num_chars"].to_numpy().sum()) if table.num_rows else 0
    return {"bucket": [path, table.num_rows, num_bytes], "rows": table.num_rows}


def sort_bucket(context: Context, *, name: str, bucket: int) -> Result:
    """Step: sort the examples that were sent to one bucket."""
    table = read_bucket(context.storage, unsorted_dir(context, name), bucket, RANKED)
    return write_ranked(context, name, bucket, table)


def sort_steps(name: str, number: int) -> list[Step]:
    """Return the steps that sort all buckets of a set; each result has its `bucket`."""
    return [Step(join("sort", name, f"{k:05d}"), sort_bucket, {"name": name, "bucket": k}) for k in range(number)]


def buckets_in(results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int, int], ...]:
    """Return the buckets of a set from the results of the steps that wrote them, in order."""
    return tuple((path, rows, num_bytes) for path, rows, num_bytes in (result["bucket"] for result in results))


def sort_sets(names: Sequence[str], number: int) -> Flow[dict[str, tuple[tuple[str, int, int], ...]]]:
    """Flow: sort several sets in one round; return the buckets of each."""
    results = yield [step for name in names for step in sort_steps(name, number)]
    return {name: buckets_in(results[place * number : (place + 1) * number]) for place, name in enumerate(names)}
