"""A short chain of jobs without training, in which every job writes several parts: what data faults are tried on."""

import json
import subprocess
import sys
from pathlib import Path

from ecellm.training.tiny_model import make_tiny_model
from tests.conftest import ROOT
from tests.driver_process import environment_without_ray

NUM_ROWS = {"train": 40, "val": 6, "test": 24}
JOBS = ("ingest", "preprocess", "predict", "evaluate")
# What a job reads: the field that names it, the job that makes it, and files that it does not pass over.
READERS = {
    "preprocess": ("samples_dir", "ingest", "data/setting=IND_Diverse*/split=train/*/*.parquet"),
    "predict": ("samples_dir", "ingest", "data/*/split=test/*/*.parquet"),
    "evaluate": ("predictions_dir", "predict", "data/*/*/*.parquet"),
}


def write_inputs(root: Path) -> None:
    """Write a release of made-up product pairs, and a tiny model."""
    lines = [
        {
            "instruction": "Are the two products the same?",
            "input": f"product {number}: lamp {number % 7}; product: lamp {number % 5} {split}",
            "output": "yes" if number % 3 else "no",
            "options": None,
            "few_shot_example": None,
            "task": "Product_Matching",
            "split": split,
            "setting": setting,
        }
        for setting in ("IND_Diverse_Instruction", "IND_Single_Instruction")
        for split, count in NUM_ROWS.items()
        for number in range(count)
    ]
    (root / "release.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    make_tiny_model(root / "model", [line["input"] for line in lines], vocab_size=400, hidden_size=32, num_layers=1)


def words_of(
    job: str, root: str | Path, output: str | Path | None = None, inputs: str | Path | None = None
) -> list[str]:
    """Return a job's command line.

    Args:
        job: one of `JOBS`.
        root: directory or URL that holds what the jobs make, each under its own name.
        output: where it writes, if elsewhere.
        inputs: where release and model are, if not below `root`.
    """
    inputs = inputs or root
    fields = {
        "ingest": [f"release={inputs}/release.jsonl", "max_rows_per_file=8"],
        "preprocess": [
            f"samples_dir={root}/ingest",
            f"base_model={inputs}/model",
            "rows_per_shard=8",
            "max_length=1024",
        ],
        "predict": [f"samples_dir={root}/ingest", "model=none/none", "engine=fake", "rows_per_shard=8", "num_actors=1"],
        "evaluate": [f"samples_dir={root}/ingest", f"predictions_dir={root}/predict", "num_resamples=20"],
    }
    return [*fields[job], f"output_dir={output or f'{root}/{job}'}"]


def run_job(job: str, words: list[str], environment: dict[str, str] | None = None, **options) -> tuple[int, str]:
    """Run a job in a process of its own, as users do; return exit code and output."""
    command = [sys.executable, "-m", f"jobs.{job}", *words]
    result = subprocess.run(
        command, cwd=ROOT, env=environment_without_ray() | (environment or {}), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=500, check=False, **options,
    )  # fmt: skip
    return result.returncode, result.stdout


def last_line(output: str) -> str:
    """Return the job's own last line."""
    return output.strip().splitlines()[-1]
