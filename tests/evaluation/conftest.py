"""Samples and predictions on disk, small enough to work out every figure by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ecellm.schema import PREDICTIONS, SAMPLES, TRAINING_LOG
from ecellm.storage import Storage

IND = "IND_Diverse_Instruction"
SA_OPTIONS = json.dumps(["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"])
QPR_INPUT = json.dumps({"query": "q", "product list": ["A: x", "B: y"]})
Row = dict[str, Any]


def _write(directory: Path, rows: list[Row], keys: tuple[str, ...], schema: pa.Schema) -> None:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    for values, group in groups.items():
        place = "/".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        table = pa.Table.from_pylist(group, schema=schema)
        Storage().write_table(f"{directory}/data/{place}/part-00000.parquet", table)


@pytest.fixture
def make_sample() -> Callable[..., Row]:
    """Return a function that makes a row of the samples table."""

    def make(task: str, number: int, output: str, **fields: Any) -> Row:
        setting = fields.get("setting", IND)
        row = {
            "sample_id": f"{task}-{setting}-{number}",
            "example_id": f"{task}-{number}",
            "task": task,
            "split": "test",
            "setting": setting,
            "row_index": number,
            "domain": setting[:3],
            "instruction_kind": "diverse",
            "instruction_index": None,
            "num_shots": 0,
            "instruction": "Answer.",
            "input": "input",
            "output": output,
        }
        return {**dict.fromkeys(SAMPLES.names), **row, **fields}

    return make


@pytest.fixture
def samples(make_sample: Callable[..., Row]) -> list[Row]:
    """Return samples of five tasks, one of them the user's own."""
    rows = [make_sample("Product_Matching", n, "yes" if n % 3 == 0 else "no") for n in range(30)]
    rows += [
        make_sample("Sentiment_Analysis", n, json.loads(SA_OPTIONS)[n % 2], options=SA_OPTIONS, setting=setting)
        for setting in (IND, "OOD_Diverse_Instruction")
        for n in range(12)
    ]
    rows += [
        make_sample("Query_Product_Ranking", n, "B,A", input=QPR_INPUT, relevance=["S", "E"] if n < 4 else None)
        for n in range(6)
    ]
    rows += [make_sample("Answer_Generation", n, "It is blue.") for n in range(3)]
    rows += [make_sample("Ticket_Routing", n, "billing") for n in range(2)]
    return rows


@pytest.fixture
def write_samples(tmp_path: Path) -> Callable[[list[Row]], str]:
    """Return a function that writes a samples directory and names it."""

    def write(rows: list[Row]) -> str:
        _write(tmp_path / "samples", rows, ("setting", "split", "task"), SAMPLES)
        return str(tmp_path / "samples")

    return write


@pytest.fixture
def write_predictions(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a predictions directory: a function of the sample gives the responses."""

    def write(name: str, rows: list[Row], respond: Callable[[Row], str], run_id: str | None = None) -> str:
        keys = ("sample_id", "example_id", "task", "split", "setting", "row_index")
        fixed = {"engine": "fake", "decoding": "greedy", "prompt_sha256": "0", "was_shortened": False}
        counts = {"finish_reason": "stop", "num_prompt_tokens": 1, "num_completion_tokens": 1, "choice_scores": None}
        run = {"run_id": run_id or f"run-{name}", "model": "tiny", "adapter": None if name == "base" else "adapter"}
        predictions = [
            {key: row[key] for key in keys} | run | fixed | counts | {"response": respond(row)} for row in rows
        ]
        _write(tmp_path / name, predictions, ("setting", "task"), PREDICTIONS)
        return str(tmp_path / name)

    return write


@pytest.fixture
def training_dir(tmp_path: Path) -> str:
    """Return a finetune output that has a training log."""
    rows = [{"step": step, "kind": "train", "loss": 4.0 / step, "learning_rate": 1e-4} for step in range(1, 41)]
    rows += [{"step": step, "kind": "val", "loss": 3.0 / step} for step in (10, 20, 40)]
    full = [{**dict.fromkeys(TRAINING_LOG.names), "epoch": 1.0, "seconds": 1.0, **row} for row in rows]
    table = pa.Table.from_pylist(full, schema=TRAINING_LOG)
    Storage().write_table(f"{tmp_path}/tuned-model/training_log/data/part-00000.parquet", table)
    return f"{tmp_path}/tuned-model"
