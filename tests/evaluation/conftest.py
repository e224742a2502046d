"""Samples and predictions on disk, small enough to work out every figure by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecellm.schema import PREDICTIONS, SAMPLES
from tests.evaluation import made_up_runs

IND = "IND_Diverse_Instruction"
SA_OPTIONS = json.dumps(["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"])
QPR_INPUT = json.dumps({"query": "q", "product list": ["A: x", "B: y"]})
Row = dict[str, Any]


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
        return made_up_runs.write_samples(tmp_path / "samples", rows)

    return write


@pytest.fixture
def write_predictions(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a predictions directory: a function of the sample gives the responses."""

    def write(name: str, rows: list[Row], respond: Callable[[Row], str], run_id: str | None = None) -> str:
        fixed = {"engine": "fake", "decoding": "greedy", "prompt_sha256": "0", "was_shortened": False}
        counts = {"finish_reason": "stop", "num_prompt_tokens": 1, "num_completion_tokens": 1, "choice_scores": None}
        run = {"run_id": run_id or f"run-{name}", "model": "tiny", "adapter": None if name == "base" else "adapter"}
        predictions = [
            {key: row[key] for key in made_up_runs.KEYS} | run | fixed | counts | {"response": respond(row)}
            for row in rows
        ]
        return made_up_runs.write_tables(tmp_path / name, predictions, ("setting", "task"), PREDICTIONS)

    return write


@pytest.fixture
def training_dir(tmp_path: Path) -> str:
    """Return a finetune output that has a training log."""
    return made_up_runs.write_training_log(tmp_path / "tuned-model")
