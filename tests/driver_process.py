"""What tests need that run a job in a process of its own: its surroundings, and its sudden end."""

import os
import subprocess
from contextlib import suppress

import psutil


def environment_without_ray() -> dict[str, str]:
    """Return this process's environment without RAY_* variables.

    Those belong to the Ray of the test session (tests/conftest.py sets some); a job that a user starts has none.
    """
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}


def kill_with_its_ray(process: subprocess.Popen) -> None:
    """SIGKILL a driver, or the head of a cluster, and all processes of the Ray that it started; wait for its end.

    The driver goes first: it must not have time to notice that its Ray is gone, and to tidy up.
    """
    for member in [process, *psutil.Process(process.pid).children(recursive=True)]:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # some end by themselves once the others are gone
            member.kill()
    process.wait()
