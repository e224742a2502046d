"""All stages of a run as one graph: `python -m jobs.pipeline RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import run_job
from ecellm.config import PipelineConfig
from ecellm.pipeline import run_pipeline
from ecellm.stages import load_stage


def work(config: PipelineConfig, dry_run: bool) -> None:
    """Run or show the pipeline."""
    run_pipeline(config, load_stage, dry_run=dry_run)


if __name__ == "__main__":
    sys.exit(run_job("pipeline", PipelineConfig, work))
