"""The newcomer's first try: a made-up world, a tiny model from scratch, and the whole pipeline over them.

python -m jobs.demo demo-output

demo-output/raw/        a small world in the formats of all raw sources
demo-output/base_model/ a tiny random model; its tokenizer has learnt from the samples
demo-output/run/        one directory a stage, as on a cluster
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecellm.config import PipelineConfig
from ecellm.dataset.build import CARD_NAME
from ecellm.dataset.partitions import list_partitions
from ecellm.pipeline import resolve, run_pipeline
from ecellm.prompts.rendering import PromptParts, render
from ecellm.ray_session import connected
from ecellm.recipe import load_config
from ecellm.settings import PAPER_TRAINING_SETTING
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.stage import carry_out, plan
from ecellm.stages import load_stage
from ecellm.storage import Storage
from ecellm.training.tiny_model import make_tiny_model

logger = logging.getLogger(__name__)
_RECIPE = Path(__file__).resolve().parents[1] / "jobs" / "recipes" / "demo.yaml"
_SAMPLES = "samples"  # the recipe's stages that are named here
_SCORES = "scores"
# Enough of everything for the recipe's sizes. Most questions have no answer that Answer_Generation could take, and its
# out-of-domain test gets one category's tenth of the others.
_WORLD = WorldSize(
    num_reviews=16_000,
    num_products=3_500,
    num_queries=1_500,
    num_questions=40_000,
    num_extractions=10_000,
    num_listings=1_300,
)
# The tokenizer learns enough from every third prompt; with fewer tokens than these, words fall to pieces.
_TOKENIZER_STRIDE = 3
_VOCAB_SIZE = 2000
_MAX_LENGTH = 1280  # twenty products to choose from make long prompts; none of them is cut


def run_demo(output: str, overrides: Sequence[str]) -> str:
    """Make world and model unless they are there, run the demo's pipeline, and say where everything is.

    Args:
        output: directory of all that the demo makes.
        overrides: `key=value` for the demo's recipe.

    Returns:
        The reason for the job's last line.
    """
    start = time.monotonic()
    root = Path(output).resolve()
    places = [
        f"output_dir={root / 'run'}",
        f"defaults.raw_dir={root / 'raw'}",
        f"defaults.base_model={root / 'base_model'}",
    ]
    config = load_config(PipelineConfig, str(_RECIPE), [*places, *overrides])
    with connected(config.ray):
        _make_world(root / "raw")
        _make_base_model(root / "base_model", config)
        run_pipeline(config, load_stage, dry_run=False)
    for line in _closing_lines(root, time.monotonic() - start):
        logger.info("%s", line)
    return "done"


def _make_world(directory: Path) -> None:
    if directory.exists():
        return
    logger.info("demo: making up a small world: products, reviews, queries, questions")
    unfinished = directory.with_name(f".{directory.name}")
    Storage().remove(str(unfinished))
    write_raw_world(str(unfinished), _WORLD)
    unfinished.rename(directory)


def _make_base_model(directory: Path, config: PipelineConfig) -> None:
    """Make the model that the demo tunes. Its tokenizer needs the samples: their stage is done here, ahead of others.

    Args:
        directory: of the model.
        config: of the pipeline, which finds the stage done.
    """
    if directory.exists():
        return
    samples = next(node for node in resolve(config, load_stage) if node.name == _SAMPLES)
    logger.info("demo: building samples of all tasks, for the model's tokenizer too")
    carry_out(plan(samples.stage, samples.config))
    logger.info("demo: making a tiny model with its own tokenizer, from scratch")
    texts = list(_training_texts(samples.output_dir))[::_TOKENIZER_STRIDE]
    unfinished = directory.with_name(f".{directory.name}")
    make_tiny_model(
        unfinished,
        texts,
        architecture="qwen3",
        vocab_size=_VOCAB_SIZE,
        hidden_size=96,
        num_layers=2,
        num_heads=4,
        max_length=_MAX_LENGTH,
    )
    unfinished.rename(directory)


def _training_texts(samples_dir: str) -> Iterator[str]:
    """Yield the prompts that are trained on, each with its answer."""
    storage = Storage()
    partitions = list_partitions(storage, samples_dir, settings=(PAPER_TRAINING_SETTING,), splits=("train",))
    for files in partitions.values():
        for file in files:
            for row in storage.read_table(file).to_pylist():
                yield render(PromptParts.of(row), "alpaca", None) + row["output"]


def _closing_lines(root: Path, seconds: float) -> list[str]:
    run = root / "run"
    scores = run / _SCORES
    columns = "task, setting, role, split_part(model, '/', -1) AS model, metric, round(value, 3) AS value, num_samples"
    metrics = f"'{scores}/metrics/data/*.parquet'"
    wanted = "is_headline AND flavour = 'strict'"
    query = f"SELECT {columns} FROM {metrics} WHERE {wanted} ORDER BY ALL"  # noqa: S608  our own path
    command = json.dumps(f'import duckdb; duckdb.sql("""{query}""").show(max_rows=99)')
    return [
        f"demo: finished in {seconds:.0f} s",
        f"demo: the report, open it in a browser: file://{scores / 'report.html'}",
        f"demo: the data set's card, with its duplicates and leaks: {run / _SAMPLES / CARD_NAME}",
        f"demo: all Parquet is below {run}, a directory a stage; query it with DuckDB, for example:",
        f"  .venv/bin/python -c {command}",
    ]
