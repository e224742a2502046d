"""Studies as one grid of pipeline stages: `python -m jobs.study RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import run_job
from ecellm.config.study import StudyConfig
from ecellm.stages import load_stage
from ecellm.studies.study import run_study


def work(config: StudyConfig, dry_run: bool) -> None:
    """Run or show the studies."""
    run_study(config, load_stage, dry_run=dry_run, arguments=sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_job("study", StudyConfig, work))
