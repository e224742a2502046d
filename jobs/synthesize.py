"""A made-up world in all raw formats, for `jobs.build`: `python -m jobs.synthesize RAW_DIR --scale 100000`."""

import argparse
import logging
import sys
import time

from ecellm.command_line import run_guarded
from ecellm.config import RayConfig, StorageConfig
from ecellm.ray_session import connected
from ecellm.sources.synthetic_raw import SOURCES, WorldSize, write_raw_world
from ecellm.storage import Storage, absolute, join

logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    arguments = argparse.ArgumentParser(prog="python -m jobs.synthesize", description=__doc__)
    arguments.add_argument("raw_dir", help="new directory, or URL such as s3://bucket/raw")
    arguments.add_argument("--scale", type=int, required=True, help="number of reviews, from 500; the rest follows")
    arguments.add_argument("--seed", type=int, default=1, help="fixes every byte (default 1)")
    arguments.add_argument("--sources", default=",".join(SOURCES), help="sources to write, default %(default)s")
    arguments.add_argument("--malformed-rate", type=float, default=0.0, help="share of lines that a cut copy follows")
    arguments.add_argument("--endpoint-url", help="S3 endpoint, e.g. http://127.0.0.1:8333")
    arguments.add_argument("--num-cpus", type=int, help="logical CPUs of a local Ray, at least 4")
    return arguments


def _write(arguments: argparse.Namespace) -> str:
    start = time.monotonic()
    storage = Storage(StorageConfig(endpoint_url=arguments.endpoint_url))
    size = WorldSize(num_reviews=arguments.scale, malformed_rate=arguments.malformed_rate)
    sources = [name.strip() for name in arguments.sources.split(",") if name.strip()]
    with connected(RayConfig(num_cpus=arguments.num_cpus)):
        counts = write_raw_world(arguments.raw_dir, size, seed=arguments.seed, sources=sources, storage=storage)
    for file, rows in counts.items():
        num_bytes = storage.size(join(absolute(arguments.raw_dir), file))
        logger.info("%-66s %12s rows %10.1f MB", file, f"{rows:,}", num_bytes / 1e6)
    return f"{sum(counts.values()):,} rows in {len(counts)} files in {time.monotonic() - start:.0f} s"


if __name__ == "__main__":
    options = parser().parse_args()
    sys.exit(run_guarded(lambda: _write(options)))
