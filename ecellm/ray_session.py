"""Connecting to Ray: the cluster of `ray job submit`, a named one, or a local Ray made for this run."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ecellm.config import RayConfig
from ecellm.errors import InputError

logger = logging.getLogger(__name__)
_LEAST_LOCAL_CPUS = 4  # a training run holds its workers and still needs CPUs for the tasks around it


@contextmanager
def connected(config: RayConfig) -> Iterator[None]:
    """Connect for the length of the block; a local Ray started here is stopped at its end.

    Raises:
        InputError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        _join(address)
    else:
        _start_local(config)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except ConnectionError as error:
        first = str(error).split("\n", 1)[0]
        raise InputError(f"cannot reach the Ray cluster at {address}: {first}") from None


def _start_local(config: RayConfig) -> None:
    # A Ray of this process alone needs no tokens; without a word Ray would write one to the home directory.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # Ray's own usage report and its log of accelerators say nothing that a user of a local run needs.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    num_cpus = config.num_cpus or max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)
    ray.init(num_cpus=num_cpus, include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
    logger.info("local Ray started with %d logical CPUs", num_cpus)
