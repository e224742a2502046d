"""The newcomer's first try: a made-up world, a tiny model from scratch, and the whole pipeline over them.

python -m jobs.demo demo-output

demo-output/raw/        dataset.json and qpr_labels.json in the release's format, amazon_google/ as raw files
demo-output/base_model/ a tiny random model with its own tokenizer
demo-output/run/        one directory a stage, as on a cluster
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecellm.config import PipelineConfig
from ecellm.pipeline import run_pipeline
from ecellm.prompts.rendering import PromptParts, render
from ecellm.ray_session import connected
from ecellm.recipe import load_config
from ecellm.settings import PAPER_TRAINING_SETTING
from ecellm.sources.json_array import iter_json_array
from ecellm.sources.synthetic import Sizes, write_amazon_google, write_qpr_labels, write_release
from ecellm.stages import load_stage
from ecellm.training.tiny_model import make_tiny_model

logger = logging.getLogger(__name__)
_RECIPE = Path(__file__).resolve().parents[1] / "jobs" / "recipes" / "demo.yaml"
_SETTINGS = (PAPER_TRAINING_SETTING, "OOD_Diverse_Instruction")
# Long prompts cost most of the time: Sequential_Recommendation and Product_Matching get few of them.
_SIZES = Sizes(train=2000, val=40, test=250, per_task={"SR": {"train": 100}, "PM": {"train": 600}})
# The tokenizer learns enough from every third prompt.
_TOKENIZER_STRIDE = 3


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
    _make_world(root / "raw")
    _make_base_model(root / "base_model", root / "raw" / "dataset.json")
    places = [
        f"output_dir={root / 'run'}",
        f"defaults.base_model={root / 'base_model'}",
        f"stages.samples.config.release={root / 'raw' / 'dataset.json'}",
        f"stages.samples.config.qpr_labels={root / 'raw' / 'qpr_labels.json'}",
        f"stages.matching_from_raw_files.config.raw_dir={root / 'raw'}",
    ]
    config = load_config(PipelineConfig, str(_RECIPE), [*places, *overrides])
    with connected(config.ray):
        run_pipeline(config, load_stage, dry_run=False)
    for line in _closing_lines(root, time.monotonic() - start):
        logger.info("%s", line)
    return "done"


def _make_world(directory: Path) -> None:
    labels = directory / "qpr_labels.json"
    if labels.exists():  # written last
        return
    logger.info("demo: making up a small world: products, reviews, questions")
    directory.mkdir(parents=True, exist_ok=True)
    write_release(directory / "dataset.json", sizes=_SIZES, settings=_SETTINGS)
    write_amazon_google(directory / "amazon_google")
    write_qpr_labels(labels, sizes=_SIZES)


def _make_base_model(directory: Path, release: Path) -> None:
    if directory.exists():
        return
    logger.info("demo: making a tiny model with its own tokenizer, from scratch")
    texts = list(_training_texts(release))[::_TOKENIZER_STRIDE]
    unfinished = directory.with_name(f".{directory.name}")
    make_tiny_model(unfinished, texts, architecture="qwen3", hidden_size=96, num_layers=2, num_heads=4)
    unfinished.rename(directory)


def _training_texts(release: Path) -> Iterator[str]:
    with release.open("rb") as handle:
        for row in iter_json_array(handle, str(release)):
            if row["split"] == "train" and row["setting"] == PAPER_TRAINING_SETTING:
                parts = PromptParts(row["instruction"], row["input"], row["options"])
                yield render(parts, "alpaca", None) + row["output"]


def _closing_lines(root: Path, seconds: float) -> list[str]:
    scores = root / "run" / "scores"
    columns = "task, setting, role, split_part(model, '/', -1) AS model, metric, round(value, 3) AS value, num_samples"
    metrics = f"'{scores}/metrics/data/*.parquet'"
    query = f"SELECT {columns} FROM {metrics} WHERE is_headline ORDER BY ALL"  # noqa: S608  our own path
    command = json.dumps(f'import duckdb; duckdb.sql("""{query}""").show(max_rows=99)')
    return [
        f"demo: finished in {seconds:.0f} s",
        f"demo: the report, open it in a browser: file://{scores / 'report.html'}",
        f"demo: all Parquet is below {root / 'run'}, a directory a stage; query it with DuckDB, for example:",
        f"  .venv/bin/python -c {command}",
    ]
