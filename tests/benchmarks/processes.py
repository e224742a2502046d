"""Runs a command and watches the private memory of its processes."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Watched:
    """What a command took.

    Attributes:
        peak_mib: private memory of all its processes together at the peak, MiB.
        peak_of_one_mib: private memory of its largest process at its peak, MiB.
        seconds: from start to end.
        output: what it printed.
    """

    peak_mib: float
    peak_of_one_mib: float
    seconds: float
    output: str


def watch(command: list[str]) -> Watched:
    """Run a command to its end.

    Raises:
        SystemExit: it fails; its last lines are printed.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    root = psutil.Process(process.pid)
    peak = peak_of_one = 0.0
    while process.poll() is None:
        sizes = _private_mib(root)
        peak, peak_of_one = max(peak, sum(sizes)), max(peak_of_one, max(sizes, default=0.0))
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    reader.join()
    if process.returncode:
        sys.stderr.write("".join(lines[-30:]))
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Watched(peak, peak_of_one, time.monotonic() - start, "".join(lines))


def _private_mib(root: psutil.Process) -> list[float]:
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    sizes = []
    for process in processes:
        try:
            memory = process.memory_info()  # cheap; the exact figure (USS) would take the cores that are measured
            sizes.append((memory.rss - memory.shared) / 2**20)
        except psutil.Error:
            continue  # it ended meanwhile
    return sizes
