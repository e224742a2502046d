"""Connecting to Ray: the cluster of `ray job submit`, a named one, or a local Ray made for this run."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ecellm.config import RayConfig
from ecellm.errors import InputError

logger = logging.getLogger(__name__)
_PROBE_SECONDS = 10
_LEAST_LOCAL_CPUS = 4  # a training run holds its workers and still needs CPUs for the tasks around it
_LOCAL_ENVIRONMENT = {
    # A Ray of this process alone needs no tokens; unasked, Ray would write one to the home directory.
    "RAY_AUTH_MODE": "disabled",
    # The jobs' own lines say what users ask; libraries' bars and warnings from every worker would bury them.
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
}


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


def quiet_worker() -> None:
    """Silence, in a worker of a local Ray, Ray Train's complaint at every second that there is no dashboard."""
    name = "ray.train.v2._internal.execution.controller.placement_group_cleaner"
    logging.getLogger(name).setLevel(logging.ERROR)


def _join(address: str) -> None:
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"{address} is where jobs are submitted (`ray job submit --address {address} ...`), not where a driver "
            "connects: submit the job there, or unset RAY_ADDRESS and ray.address for a local Ray"
        )
    _probe(address)
    try:
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().split("\n", 1)[0]
        raise InputError(f"cannot join the Ray cluster at {address}: {first}") from None


def _probe(address: str) -> None:
    """Raise `InputError` at once where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", or something that Ray will refuse
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise InputError(f"cannot reach the Ray cluster at {address}: {error}") from None


def _start_local(config: RayConfig) -> None:
    for name, value in _LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # the raylet, and through it every worker, inherits it
    num_cpus = config.num_cpus or max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.WARNING,
        runtime_env={"worker_process_setup_hook": quiet_worker},
    )
    logger.info("local Ray started with %d logical CPUs", num_cpus)
