"""What answering took, once it is done: tokens, time of the actors, cost.

In: the parts that predict has written, whichever run did: each says in its metadata how long an actor was at work on
it, so that the sums are those of all runs that it took. Out: lines for a person, figures for the manifest. Rows that
failed are not in the parts: what they took is in the seconds alone. What actors had begun when a run was killed is
nowhere: actor-hours, and a cost by them, are then at least what is said.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.config import PredictConfig, PriceSettings
from ecellm.dataset.partitions import hive_keys
from ecellm.inference.progress import duration_text, rate_text
from ecellm.storage import Storage, join

_SECONDS = b"ecellm.seconds"
_TOKENS = ["num_prompt_tokens", "num_completion_tokens"]


def with_seconds(table: pa.Table, seconds: float) -> pa.Table:
    """Return a part that says how long it took, beside what its metadata says already.

    Args:
        table: a part of the predictions.
        seconds: one actor's work on it; in its first part also what it took to load the model.
    """
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _SECONDS: f"{seconds:.3f}".encode()})


def seconds_of(metadata: Mapping[bytes, bytes] | None) -> float:
    """Return the seconds that `with_seconds` has put into a schema's or a footer's metadata; 0.0 if it has not."""
    return float((metadata or {}).get(_SECONDS, b"0"))


@dataclass(frozen=True)
class Totals:
    """What the parts say.

    Attributes:
        num_rows_by_split: answered rows by (setting, task), of all adapters together.
        num_prompt_tokens: tokens of their prompts.
        num_completion_tokens: tokens of their answers.
        actor_seconds: time of all actors together, over all runs; 0.0 if the parts do not say.
    """

    num_rows_by_split: Mapping[tuple[str, str], int]
    num_prompt_tokens: int
    num_completion_tokens: int
    actor_seconds: float

    @property
    def num_rows(self) -> int:
        """All answered rows."""
        return sum(self.num_rows_by_split.values())

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts and answers."""
        return self.num_prompt_tokens + self.num_completion_tokens


def totals(storage: Storage, output_dir: str) -> Totals:
    """Sum up all parts, one at a time; runs on a node, as a task.

    Args:
        storage: access to the parts.
        output_dir: predict's output, absolute.
    """
    rows: Counter[tuple[str, str]] = Counter()
    tokens: Counter[str] = Counter()
    seconds = 0.0
    for path in storage.list_files(join(output_dir, "data"), ".parquet"):
        keys = hive_keys(path)
        with storage.parquet_file(path) as file:
            table = file.read(columns=_TOKENS)
            seconds += seconds_of(file.metadata.metadata)
        rows[keys["setting"], keys["task"]] += table.num_rows
        for name in _TOKENS:
            tokens[name] += pc.sum(table[name]).as_py() or 0
    return Totals(dict(rows), tokens["num_prompt_tokens"], tokens["num_completion_tokens"], seconds)


def bill(found: Totals, price: PriceSettings) -> float | None:
    """Return what the answers cost, in the price's currency; None if there is no price."""
    if not price.is_given:
        return None
    return (
        found.actor_seconds / 3600 * price.per_actor_hour
        + found.num_prompt_tokens / 1e6 * price.per_million_prompt_tokens
        + found.num_completion_tokens / 1e6 * price.per_million_completion_tokens
    )


def money_text(amount: float, price: PriceSettings) -> str:
    """Return an amount in the price's currency, small ones with the digits that say something."""
    return f"{amount:,.2f} {price.currency}" if amount >= 0.1 or not amount else f"{amount:.2g} {price.currency}"


def describe(found: Totals, config: PredictConfig, wall_seconds: float | None = None) -> tuple[str, ...]:
    """Return the totals as lines to show.

    Args:
        found: of all parts.
        config: the job's config, for its prices.
        wall_seconds: what this run took; None where an earlier run has answered some of the rows, since the time of
            this one says nothing of the whole.
    """
    return tuple(_lines(found, config, wall_seconds))


def _lines(found: Totals, config: PredictConfig, wall_seconds: float | None) -> Iterator[str]:
    yield (
        f"{found.num_rows:,} rows, {found.num_prompt_tokens:,} prompt tokens, "
        f"{found.num_completion_tokens:,} completion tokens"
    )
    if found.actor_seconds > 0:
        work = f"{rate_text(found.actor_seconds / 3600)} actor-hours"
        yield f"{work}: {_rates(found, found.actor_seconds)} of an actor, loading the model included"
    if wall_seconds:
        yield f"{duration_text(wall_seconds)} in all: {_rates(found, wall_seconds)}"
    cost = bill(found, config.price)
    if cost is not None:
        yield f"cost: {money_text(cost, config.price)}"


def _rates(found: Totals, seconds: float) -> str:
    return f"{rate_text(found.num_rows / seconds)} rows/s, {rate_text(found.num_tokens / seconds)} tokens/s"


def as_details(found: Totals, config: PredictConfig, wall_seconds: float | None = None) -> dict[str, Any]:
    """Return the totals for the manifest; None stands for what is not known, or was not asked for.

    Args:
        found: of all parts.
        config: the job's config, for its prices.
        wall_seconds: as in `describe`.
    """
    cost = bill(found, config.price)
    return {
        "num_prompt_tokens": found.num_prompt_tokens,
        "num_completion_tokens": found.num_completion_tokens,
        "num_rows_by_split": {f"{setting}/{task}": rows for (setting, task), rows in found.num_rows_by_split.items()},
        "actor_hours": found.actor_seconds / 3600,
        **_rates_by_name(found, found.actor_seconds, "actor_second"),
        **_rates_by_name(found, wall_seconds, "wall_second"),
        "cost": cost,
        "currency": None if cost is None else config.price.currency,
    }


def _rates_by_name(found: Totals, seconds: float | None, unit: str) -> dict[str, float | None]:
    return {
        f"rows_per_{unit}": found.num_rows / seconds if seconds else None,
        f"tokens_per_{unit}": found.num_tokens / seconds if seconds else None,
    }
