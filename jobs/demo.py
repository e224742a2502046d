"""The newcomer's first try, on a made-up world: `python -m jobs.demo OUTPUT [key=value]`."""

import argparse
import sys

from ecellm.command_line import run_guarded
from ecellm.demo import run_demo

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=__doc__)
    parser.add_argument("output", nargs="?", default="demo-output", help="directory of all that the demo makes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of jobs/recipes/demo.yaml")
    arguments = parser.parse_args()
    sys.exit(run_guarded(lambda: run_demo(arguments.output, arguments.overrides)))
