"""The paper's figures, beside which ours can be put: all result tables, in the form of the metrics table.

Source: the eCeLLM paper (arXiv 2402.08831, ICML 2024) and its authors' result tables. The figures lie beside this
module as Parquet, which is made from the tables written down as JSON (`ecellm.evaluation.published_tables`) by

    python -m ecellm.evaluation.published SOURCE.json

What the columns hold, where a reader of the metrics table could not know it:

- `model` is the row's name in the paper; the three models of the family have their name before it, as in
  `eCeLLM-L (GEN Llama-2 13B-chat)`. TS = tuned on one task, GEN = one model tuned on all tasks, `SoTA: ...` = a
  task-specific model. Answer_Generation has no task-specific model: that row repeats GPT-4 Turbo.
- `flavour` is `released`: what counts as a hit follows the released scorer's rules, with one exception. That scorer
  leaves out an answer to a closed question (yes or no, a letter) that it cannot read; in the tables it counts as wrong.
  EcomGPT's 0.042 on in-domain Sequential_Recommendation, with 344 unreadable answers, is 42 hits of 1,000, and no
  number of hits of the other 656; and whoever answers Answerability_Prediction, the counts behind the six figures add
  up to the same 633 (OOD: 686) positives of 1,000. Where `num_invalid` is 0, as it is for the eCeLLM models nearly
  everywhere, both are the same figure. `strict` would be misleading: it rates extractions and rankings by other rules
  than the tables, and takes an unreadable answer for neither yes nor no, while the tables make it one of the two.
- Flan-T5's figures of Attribute_Value_Extraction come from another reader of answers, which keeps only the last object
  of a list; nothing else should be compared with them.
- `num_invalid` is the tables' `#fail`, in answers. `num_samples` is the size of the paper's test. There are no
  intervals, `decoding` is null, and `samples_fingerprint` is empty.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.published_tables import FAMILY, TASK_SPECIFIC, metric_rows_of
from ecellm.schema import METRICS
from ecellm.storage import Storage
from ecellm.tasks import find_task

logger = logging.getLogger(__name__)
PUBLISHED_PATH = Path(__file__).with_name("published_results.parquet")
_SHOWN = (*FAMILY.values(), "GPT-4 Turbo", "EcomGPT")


@dataclass(frozen=True)
class PublishedModel:
    """A model of the paper in one test.

    Attributes:
        label: short name: `eCeLLM-L`, `GPT-4 Turbo`, `BERT`.
        model: as in the metrics table.
        run_id: as in the metrics table.
        metric: the task's headline metric.
        value: its figure.
        num_samples: size of the paper's test.
        num_invalid: answers that could not be read.
        is_task_specific: whether it was made for this task alone (`SoTA: ...` in the paper).
        values: all figures by metric.
    """

    label: str
    model: str
    run_id: str
    metric: str
    value: float
    num_samples: int
    num_invalid: int
    is_task_specific: bool
    values: Mapping[str, float]


@cache
def _all_rows() -> tuple[MetricRow, ...]:
    return tuple(Storage().read_table(str(PUBLISHED_PATH)).to_pylist())


def published_rows(task: str, setting: str) -> list[MetricRow]:
    """Return the paper's figures of one test as rows of the metrics table, model after model in the tables' order.

    Args:
        task: any name of the task.
        setting: the paper has figures of `IND_Diverse_Instruction` and `OOD_Diverse_Instruction` alone.

    Returns:
        New rows; none where the paper has no figures.
    """
    known = find_task(task)
    if known is None:
        return []
    return [dict(row) for row in _all_rows() if (row["task"], row["setting"]) == (known.name, setting)]


def reference_models(task: str, setting: str) -> list[PublishedModel]:
    """Return the models of the paper that a reader compares with, in a fixed order.

    They are eCeLLM-L, -M and -S, GPT-4 Turbo, EcomGPT, and the task-specific model that is best by the headline metric
    in this very test (the first of equals; none for Answer_Generation, where the paper has no such model).

    Args:
        task: any name of the task.
        setting: as in `published_rows`.

    Returns:
        At most six models; none where the paper has no figures.
    """
    grouped = groupby(published_rows(task, setting), key=lambda row: row["model"])
    models = [_published_model(list(rows)) for _, rows in grouped]
    general = {model.label: model for model in models if not model.is_task_specific}
    specific = [model for model in models if model.is_task_specific and model.label not in general]
    best = max(specific, key=lambda model: model.value, default=None)
    chosen = [general[label] for label in _SHOWN if label in general]
    return [*chosen, *([best] if best else [])]


def _published_model(rows: Sequence[MetricRow]) -> PublishedModel:
    headline = next(row for row in rows if row["is_headline"])
    name = headline["model"]
    return PublishedModel(
        label=name.split(" (")[0].removeprefix(TASK_SPECIFIC),
        model=name,
        run_id=headline["run_id"],
        metric=headline["metric"],
        value=headline["value"],
        num_samples=headline["num_samples"],
        num_invalid=headline["num_invalid"],
        is_task_specific=name.startswith(TASK_SPECIFIC),
        values={row["metric"]: row["value"] for row in rows},
    )


def convert(source: Path, output: Path = PUBLISHED_PATH) -> int:
    """Make the Parquet file from the tables as JSON; return its number of rows.

    Raises:
        InputError: a table is not of the form that `published_tables` describes.
    """
    rows = metric_rows_of(json.loads(source.read_text(encoding="utf-8")))
    Storage().write_table(str(output), pa.Table.from_pylist(rows, schema=METRICS))
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the file named on the command line; `--output` puts the Parquet elsewhere."""
    parser = argparse.ArgumentParser(description="Make the Parquet of the paper's figures from its tables as JSON.")
    parser.add_argument("source", type=Path, metavar="SOURCE.json")
    parser.add_argument("--output", type=Path, default=PUBLISHED_PATH)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logger.info("%s: %s rows", given.output, f"{convert(given.source, given.output):,}")


if __name__ == "__main__":
    main()
