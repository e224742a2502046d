"""What tests need that run a job in a process of its own: its surroundings, and its sudden end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import ROOT


def environment_without_ray() -> dict[str, str]:
    """Return this process's environment without RAY_* variables.

    Those belong to the Ray of the test session (tests/conftest.py sets some); a job that a user starts has none.
    """
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}


def start_driver(
    job: str, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start `python -m jobs.JOB WORDS` as a user would; what it prints is added to `log`.

    Args:
        job: name of the job.
        words: recipe and overrides.
        log: file; kept over several starts.
        environment: variables besides this process's.
    """
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", f"jobs.{job}", *words],
            cwd=ROOT,
            env=environment_without_ray() | dict(environment or {}),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_at_work(
    process: subprocess.Popen, is_time: Callable[[], object], log: Path, timeout_seconds: float = 240
) -> None:
    """Wait for a moment in a driver's work; fail if the driver ends before it, or it never comes."""
    deadline = time.monotonic() + timeout_seconds
    while not is_time():
        assert process.poll() is None, log.read_text()[-8000:]
        assert time.monotonic() < deadline, log.read_text()[-8000:]
        time.sleep(0.02)
    assert process.poll() is None, log.read_text()[-8000:]


def kill_with_its_ray(process: subprocess.Popen) -> None:
    """SIGKILL a driver, or the head of a cluster, and all processes of the Ray that it started; wait for its end.

    The driver goes first: it must not have time to notice that its Ray is gone, and to tidy up.
    """
    for member in [process, *psutil.Process(process.pid).children(recursive=True)]:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # some end by themselves once the others are gone
            member.kill()
    process.wait()
