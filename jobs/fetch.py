"""The raw sources and the release, brought to raw_dir: `python -m jobs.fetch raw_dir=s3://BUCKET/raw sources=[...]`."""

import sys

import yaml

from ecellm.command_line import run_job
from ecellm.config import FetchConfig
from ecellm.errors import InputError
from ecellm.redaction import redacted
from ecellm.sources.fetch import dry_run, fetch, first_problems


def work(config: FetchConfig, only_look: bool) -> None:
    """Fetch, or list what would be fetched.

    Raises:
        InputError: a file cannot be had; in a dry run too, after the list.
    """
    if not only_look:
        fetch(config)
        return
    lines, problems = dry_run(config)
    print(
        yaml.safe_dump({"fetch": redacted(config.model_dump(mode="json"))}, sort_keys=False, allow_unicode=True), end=""
    )
    print("\n".join(lines))
    if problems:
        raise InputError(f"{len(problems)} upstream files cannot be had: {first_problems(problems)}")


if __name__ == "__main__":
    sys.exit(run_job("fetch", FetchConfig, work))
