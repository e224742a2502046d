"""A small run of a shipped recipe through all stages: its inputs, its command lines, and the run itself on one node."""

import json
from pathlib import Path

from ecellm.config import PipelineConfig
from ecellm.pipeline import Node, resolve, run_pipeline
from ecellm.recipe import load_config
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.stages import load_stage
from ecellm.training.tiny_model import make_tiny_model
from tests.conftest import ROOT

RECIPE = "jobs/recipes/pm_gemma270m.yaml"
STAGES = {
    "samples": "build", "rows": "preprocess", "before": "predict", "tuned": "finetune", "after": "predict",
    "scores": "evaluate",
}  # fmt: skip
_CATEGORIES = "{all: {in_domain: [Electronics], out_of_domain: [Tools_and_Home_Improvement]}}"
_WORLD = WorldSize(num_reviews=1500, in_domain=("Electronics",), out_of_domain=("Tools_and_Home_Improvement",))
# Small, and more tasks, so that every stage has parts enough for several nodes; nothing is drawn at random in training.
_OVERRIDES = [
    "stages.samples.config.tasks=[PM, SA, PRP]",
    f"stages.samples.config.categories={_CATEGORIES}",
    "stages.samples.config.sizes={train: 60, val: 8, test: 32}",
    "stages.samples.config.held_out_rows=5",
    "stages.rows.config.num_samples=160",
    "stages.rows.config.num_val_samples=16",
    *(f"stages.{name}.config.{words}" for name in ("before", "after") for words in ("rows_per_shard=4", "limit=24")),
    "stages.tuned.config.num_epochs=3",
    "stages.tuned.config.optimizer={learning_rate: 5.0e-3}",
    "stages.tuned.config.precision=fp32",
    "stages.tuned.config.lora={r: 4, dropout: 0}",
    "stages.tuned.config.eval_every_steps=4",
    "stages.tuned.config.checkpoint_every_steps=2",
    "stages.tuned.config.keep_checkpoints=4",
    "stages.tuned.config.log_every_steps=1",
    "stages.tuned.config.num_scored_samples=4",
    "stages.scores.config.num_resamples=50",
]


def write_inputs(root: Path) -> None:
    """Write raw data of all sources, and a tiny model whose tokenizer has seen some of them; needs a connected Ray."""
    write_raw_world(str(root / "raw"), _WORLD)
    texts = [path.read_text("latin-1")[:20_000] for path in sorted((root / "raw" / "amazon_google").glob("*.csv"))]
    make_tiny_model(root / "model", texts, vocab_size=800, hidden_size=32, num_layers=2, max_length=1024)


def words_of_run(root: str | Path, inputs: str | Path | None = None) -> list[str]:
    """Return the overrides of the recipe.

    Args:
        root: directory or URL that the stages write below.
        inputs: where raw/ and model/ are; None: below the root too.
    """
    inputs = inputs or root
    places = [f"output_dir={root}", f"defaults.raw_dir={inputs}/raw", f"defaults.base_model={inputs}/model"]
    return [*places, *_OVERRIDES]


def words_of(stage: str, root: str | Path, output: str | Path) -> list[str]:
    """Return the command line of one of the run's jobs: `python -m jobs.JOB WORDS`.

    Args:
        stage: name in the recipe.
        root: directory or URL that holds its inputs: raw/, model/, and what earlier stages made.
        output: where it writes.
    """
    config = next(node.config for node in _nodes(root) if node.name == stage)
    changed = config.model_dump(mode="json", exclude_defaults=True) | {"output_dir": str(output)}
    return [f"{name}={json.dumps(value)}" for name, value in changed.items()]


def run_on_one_node(root: Path) -> None:
    """Run all stages on the Ray that this process is connected to."""
    run_pipeline(_config(root), load_stage, dry_run=False)


def _nodes(root: str | Path) -> list[Node]:
    return resolve(_config(root), load_stage)


def _config(root: str | Path) -> PipelineConfig:
    return load_config(PipelineConfig, str(ROOT / RECIPE), words_of_run(root))
