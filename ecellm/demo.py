"""The newcomer's first try: a made-up world, a tiny model from scratch, and the whole pipeline over them.

python -m jobs.demo demo-output

demo-output/raw/        dataset.json and qpr_labels.json in the release's format, amazon_google/ as raw files
demo-output/base_model/ a tiny random model with its own tokenizer
demo-output/run/        one directory a stage, as on a cluster
"""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from ecellm.config import PipelineConfig
from ecellm.pipeline import run_pipeline
from ecellm.prompts.rendering import PromptParts, render
from ecellm.recipe import load_config
from ecellm.settings import PAPER_TRAINING_SETTING
from ecellm.sources.json_array import iter_json_array
from ecellm.sources.synthetic import Sizes, write_amazon_google, write_qpr_labels, write_release
from ecellm.stages import STAGES
from ecellm.training.tiny_model import make_tiny_model

logger = logging.getLogger(__name__)
RECIPE = Path(__file__).resolve().parents[1] / "jobs" / "recipes" / "demo.yaml"
_SETTINGS = ("IND_Diverse_Instruction", "OOD_Diverse_Instruction")
_SEED = 1


def make_world(directory: Path) -> None:
    """Write the made-up raw data, unless they are there."""
    if (directory / "qpr_labels.json").exists():
        return
    logger.info("making up a small world: products, reviews, questions")
    write_release(directory / "dataset.json", seed=_SEED, sizes=SIZES)
    write_amazon_google(directory / "amazon_google", seed=_SEED)
    write_qpr_labels(directory / "qpr_labels.json", seed=_SEED, sizes=SIZES)


SIZES = Sizes()


def _training_texts(release: Path) -> Iterator[str]:
    with release.open("rb") as handle:
        for row in iter_json_array(handle, str(release)):
            if row["split"] == "train" and row["setting"] == PAPER_TRAINING_SETTING:
                parts = PromptParts(row["instruction"], row["input"], row["options"])
                yield render(parts, "alpaca", None) + row["output"]


def make_base_model(directory: Path, release: Path) -> None:
    """Make the tiny model, its tokenizer learnt from the training prompts, unless it is there."""
    if (directory / "config.json").exists():
        return
    logger.info("making a tiny model with its own tokenizer, from scratch")
    make_tiny_model(directory, _training_texts(release), seed=_SEED)


def run_demo(output: Path, overrides: list[str]) -> None:
    """Make world and model, and run the demo's pipeline over them."""
    start = time.monotonic()
    output = output.resolve()
    make_world(output / "raw")
    make_base_model(output / "base_model", output / "raw" / "dataset.json")
    config = load_config(
        PipelineConfig,
        str(RECIPE),
        [
            f"output_dir={output / 'run'}",
            f"defaults.base_model={output / 'base_model'}",
            f"defaults.raw_dir={output / 'raw'}",
            f"stages.samples.config.release={output / 'raw' / 'dataset.json'}",
            f"stages.samples.config.qpr_labels={output / 'raw' / 'qpr_labels.json'}",
            *overrides,
        ],
    )
    run_pipeline(config, STAGES, dry_run=False)
    for line in _closing_lines(output, time.monotonic() - start):
        logger.info("%s", line)


def _closing_lines(output: Path, seconds: float) -> list[str]:
    scores = output / "run" / "scores"
    headline = "SELECT task, setting, role, model, metric, round(value, 3) AS value"
    query = f"{headline} FROM '{scores}/metrics/data/*.parquet' WHERE is_headline ORDER BY ALL"
    return [
        f"the demo took {seconds:.0f} s. Open the report:  file://{scores / 'report.html'}",
        f"all Parquet is below {output / 'run'}, by stage; every column describes itself in its schema. Query it:",
        f".venv/bin/python -c {json.dumps(f'import duckdb; duckdb.sql({query!r}).show(max_rows=80)')}",
    ]
