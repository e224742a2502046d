"""Training rows (token ids) from samples: `python -m jobs.preprocess RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import main
from ecellm.stages import load_stage

if __name__ == "__main__":
    sys.exit(main(load_stage("preprocess")))
