"""Connecting to Ray: the cluster of `ray job submit`, a named one, or a local Ray made for this run."""

import logging
import os
import secrets
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from ecellm.config import RayConfig
from ecellm.errors import InputError

logger = logging.getLogger(__name__)
_PROBE_SECONDS = 10
_LEAST_LOCAL_CPUS = 4  # a training run holds its workers and still needs CPUs for the tasks around it
_TOKEN_BYTES = 32
_LOCAL_ENVIRONMENT = {
    # The jobs' own lines say what users ask; libraries' bars and warnings from every worker would bury them.
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
}
_LOOPBACK_NAME = "lo0" if sys.platform == "darwin" else "lo"
# Where PyTorch's workers listen for each other: unasked, on the address that the host's name stands for.
_LOOPBACK_INTERFACE = {"GLOO_SOCKET_IFNAME": _LOOPBACK_NAME, "NCCL_SOCKET_IFNAME": _LOOPBACK_NAME}


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


def _runtime_env() -> dict[str, Any] | None:
    """Return what a local Ray's workers are given, also those of a driver that joins one; clusters have a dashboard."""
    return {"worker_process_setup_hook": quiet_worker} if keeps_to_this_machine() else None


def _join(address: str) -> None:
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"{address} is where jobs are submitted (`ray job submit --address {address} ...`), not where a driver "
            "connects: submit the job there, or unset RAY_ADDRESS and ray.address for a local Ray"
        )
    _probe(address)
    try:
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING, runtime_env=_runtime_env())
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
    _keep_to_this_machine()
    num_cpus = config.num_cpus or max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.WARNING,
        _temp_dir=str(_private_directory() / "ray"),
        runtime_env=_runtime_env(),
    )
    logger.info("local Ray started with %d logical CPUs", num_cpus)


def _keep_to_this_machine() -> None:
    """Let the local Ray, and what trains in it, listen on the loopback address alone, and ask for a token there.

    Whoever reaches one of Ray's ports can run code as this user. On Linux Ray listens on all interfaces unless it takes
    the machine for one that cannot be part of a cluster, as it does by itself on macOS and Windows.
    """
    from ray._private import ray_constants
    from ray._private.authentication import authentication_token_setup

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this one, which has read the variable
    for name, value in _LOOPBACK_INTERFACE.items():
        os.environ.setdefault(name, value)
    # Ray asks for a token unless RAY_AUTH_MODE says otherwise, warns that it does, and would write one that all may
    # read to the home directory. This one is known to this run's processes alone.
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not os.environ.get("RAY_AUTH_TOKEN"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(_TOKEN_BYTES)
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)


def _private_directory() -> Path:
    """Return a directory that no other user enters, for Ray's logs and sockets: Ray opens its own to all.

    Raises:
        InputError: somebody else has made it.
    """
    from ray._common.utils import get_default_system_temp_dir

    path = Path(get_default_system_temp_dir()) / f"ecellm-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise InputError(f"{path} is not a directory of yours alone: remove it, or let TMPDIR name another place")
    return path


def keeps_to_this_machine() -> bool:
    """Tell whether the Ray that this process started listens on the loopback address alone: it has no other nodes."""
    from ray._private import ray_constants

    return not ray_constants.ENABLE_RAY_CLUSTER
