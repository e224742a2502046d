"""Samples from the ECInstruct release or from own instruction data: `python -m jobs.ingest RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import main
from ecellm.stages import STAGES

if __name__ == "__main__":
    sys.exit(main(STAGES["ingest"]))
