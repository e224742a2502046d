"""Training rows (token ids) from samples: `python -m jobs.preprocess RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import main
from ecellm.stages import STAGES

if __name__ == "__main__":
    sys.exit(main(STAGES["preprocess"]))
