"""The newcomer's first try, on a made-up world: `python -m jobs.demo OUTPUT [key=value]`."""

import sys

from ecellm.command_line import run_guarded
from ecellm.demo import run_demo

if __name__ == "__main__":
    arguments = sys.argv[1:] or ["demo-output"]
    sys.exit(run_guarded(lambda: run_demo(arguments[0], arguments[1:])))
