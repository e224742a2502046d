"""Task-specific models and their answers: `python -m jobs.baseline RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import main
from ecellm.stages import load_stage

if __name__ == "__main__":
    sys.exit(main(load_stage("baseline")))
