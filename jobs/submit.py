"""A recipe on a Ray cluster, followed to its end: `python -m jobs.submit RECIPE.yaml key=value --address URL`."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ecellm.command_line import EXIT_OTHER, Parser, run_guarded
from ecellm.errors import InputError
from ecellm.submitting.attempts import Attempts
from ecellm.submitting.job_server import DEFAULT_ADDRESS, ClusterError, address_of, connect
from ecellm.submitting.request import CONFIGS, make_request
from ecellm.submitting.upload import read_upload

ROOT = Path(__file__).resolve().parents[1]
_DESCRIPTION = """\
Submit a recipe to a Ray cluster, show its log, and end with the job's own exit code.

The same command again attaches to the run while it is at work, and submits it anew once it has ended: jobs go on where
they stopped, and what is done is done. A run whose driver was killed, or whose node was lost, is submitted again.
"""
_EPILOG = """\
exit codes:
  the job's own: 0 done; 2 bad config or input; 3 another run holds the output; 1 anything else
  besides: 2 no cluster answers, it refuses the token, or the upload is too large; 1 after Ctrl-C, which only detaches

token:
  RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH (a file), or ~/.ray/auth_token; never an option

examples:
  python -m jobs.submit jobs/recipes/ecellm_m.yaml defaults.release=s3://BUCKET/release/dataset.json \\
      output_dir=s3://BUCKET/runs/ecellm_m --address http://HEAD:8265
  python -m jobs.submit --job evaluate samples_dir=s3://... predictions_dir=s3://... output_dir=s3://...
"""


def parser() -> Parser:
    """Return what reads the command line."""
    arguments = Parser(
        prog="python -m jobs.submit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE.yaml | key=value",
        help="one recipe of this checkout, then dotted overrides, as for the job itself",
    )
    arguments.add_argument(
        "--address", help=f"the cluster's dashboard; default RAY_API_SERVER_ADDRESS, RAY_ADDRESS, {DEFAULT_ADDRESS}"
    )
    arguments.add_argument(
        "--job",
        choices=CONFIGS,
        help="the job that runs the recipe; default: as the recipe says (pipeline, if it has stages)",
    )
    arguments.add_argument("--detach", action="store_true", help="submit and leave; nobody is there to retry then")
    arguments.add_argument(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="submissions after one that ended without an exit code: killed, or its node lost (default %(default)s)",
    )
    arguments.add_argument("--dry-run", action="store_true", help="run the job's --dry-run on the cluster")
    return arguments


def submit(words: Sequence[str] | None = None) -> str | tuple[int, str]:
    """Submit what the command line asks for; return exit code and reason."""
    options = parser().parse_intermixed_args(words)
    recipes = [word for word in options.words if "=" not in word]
    if len(recipes) > 1:
        raise InputError(f"one recipe at a time, not {', '.join(recipes)}; overrides look like key=value")
    if options.retries < 0:
        raise InputError(f"--retries {options.retries}: give 0 or more")
    overrides = [word for word in options.words if "=" in word]
    address = address_of(options.address)
    with tempfile.TemporaryDirectory(prefix="ecellm-submit-") as scratch:
        upload = read_upload(ROOT, Path(scratch))
        request = make_request(upload, next(iter(recipes), None), overrides, job=options.job, dry_run=options.dry_run)
        try:
            attempts = Attempts(connect(address), address, request, upload, show)
            return attempts.detached() if options.detach else attempts.followed(options.retries)
        except ClusterError as error:
            return EXIT_OTHER, str(error)


def show(text: str) -> None:
    """Pass on a piece of the job's log as it comes."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_guarded(submit))
