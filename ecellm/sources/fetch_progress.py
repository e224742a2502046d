"""How far a fetch is: workers report bytes to one small actor, the driver turns them into lines.

fetch: 1.2 GB of 3.4 GB, 45.3 MB/s, about 49 s left
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REPORTS = 1.0


class ByteCounter:
    """The actor: adds up what the workers report."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, num_bytes: int) -> None:
        """Count bytes; a negative number takes back what a restart fetches again."""
        self._total += num_bytes

    def total(self) -> int:
        """Return all that was reported."""
        return self._total


class Reporter:
    """A worker's end: passes bytes on to the actor, about once a second."""

    def __init__(self, counter: Any) -> None:
        self._counter = counter
        self._waiting = 0
        self._last = time.monotonic()

    def __call__(self, num_bytes: int) -> None:
        """Note some bytes."""
        self._waiting += num_bytes
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_REPORTS:
            self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        if self._waiting:
            self._counter.add.remote(self._waiting)
        self._waiting, self._last = 0, time.monotonic()

    def finish(self) -> None:
        """Pass on the rest and wait until it is counted."""
        ray.get(self._counter.add.remote(self._waiting))
        self._waiting = 0


@contextmanager
def progress_lines(total_bytes: int | None, bytes_before: int) -> Iterator[Any]:
    """Give a counter for the workers; write a line now and then, and one at the end.

    Args:
        total_bytes: all that the files have; None if a server does not say.
        bytes_before: what of it was there before.
    """
    counter = ray.remote(ByteCounter).options(num_cpus=0).remote()
    start = time.monotonic()
    stop = threading.Event()

    def write_lines() -> None:
        while not stop.wait(_SECONDS_BETWEEN_LINES):
            _write_line(counter, total_bytes, bytes_before, start)

    thread = threading.Thread(target=write_lines, daemon=True, name="ecellm-fetch-progress")
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join()
    _write_line(counter, total_bytes, bytes_before, start)


def _write_line(counter: Any, total_bytes: int | None, bytes_before: int, start: float) -> None:
    now = ray.get(counter.total.remote())
    logger.info("fetch: %s", progress_text(bytes_before, now, total_bytes, time.monotonic() - start))


def progress_text(before: int, now: int, total: int | None, seconds: float) -> str:
    """Return bytes done of all, rate and time left, as far as they are known.

    Args:
        before: bytes that an earlier run fetched.
        now: bytes of this run.
        total: bytes of all files, or None.
        seconds: how long this run has taken.
    """
    done, rate = before + now, now / max(seconds, 1e-9)
    if total is None:
        return f"{bytes_text(done)} so far, {rate / 1e6:.1f} MB/s"
    left = f", about {(total - done) / rate:.0f} s left" if now > 0 and done < total else ""
    return f"{bytes_text(done)} of {bytes_text(total)}, {rate / 1e6:.1f} MB/s{left}"


def bytes_text(num_bytes: int | None) -> str:
    """Return a size as people read it: 12 B, 1.2 MB, 3.4 GB."""
    if num_bytes is None:
        return "size unknown"
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= limit:
            return f"{num_bytes / limit:.1f} {unit}"
    return f"{num_bytes} B"
