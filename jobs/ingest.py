"""Samples from the ECInstruct release or from own instruction data: `python -m jobs.ingest RECIPE.yaml key=value`."""

import sys

from ecellm.command_line import main
from ecellm.stages import load_stage

if __name__ == "__main__":
    sys.exit(main(load_stage("ingest")))
