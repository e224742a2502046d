"""Runs a job as a user would, and watches the memory of its driver and of Ray's workers, one by one.

Of Ray's processes those are counted that do the job's work, by what Ray calls them. Memory is private (resident less
shared), so that Ray's object store, which all map, is not counted in each; it is sampled.
"""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psutil

from tests.driver_process import environment_without_ray

_SECONDS_BETWEEN_LOOKS = 0.25
_WORKER = "ray::"
_NOT_AT_WORK = ("ray::IDLE", "ray::_AutoscalingCoordinatorActor", "ray::_StatsActor")


@dataclass
class WatchedJob:
    """What a job took.

    Attributes:
        seconds: from command to end, Ray's start included.
        cpu_seconds: of driver and workers, as far as it was seen before they ended.
        driver_mib: private memory of the driver at its peak.
        worker_mib: the same of the largest worker.
        worker: what that one was called: the step's name.
        output: what the job printed.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    driver_mib: float = 0.0
    worker_mib: float = 0.0
    worker: str = ""
    output: list[str] = field(default_factory=list)


def run_job(arguments: list[str]) -> WatchedJob:
    """Run `python -m ARGUMENTS` to its end.

    Raises:
        SystemExit: it fails; its last lines are printed.
    """
    found, start = WatchedJob(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment_without_ray(),
    )
    reader = threading.Thread(target=lambda: found.output.extend(process.stdout))
    reader.start()
    driver, cpu_of = psutil.Process(process.pid), {}
    while process.poll() is None:
        _look(driver, found, cpu_of)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    reader.join()
    found.seconds, found.cpu_seconds = time.monotonic() - start, sum(cpu_of.values())
    if process.returncode:
        sys.stderr.write("".join(found.output[-30:]))
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return found


def _look(driver: psutil.Process, found: WatchedJob, cpu_of: dict[int, float]) -> None:
    """Note the memory and the processor time of the driver and of all workers."""
    try:
        processes = [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            name = process.cmdline()[0] if process != driver else ""
            if process != driver and not name.startswith(_WORKER):
                continue
            memory, times = process.memory_info(), process.cpu_times()
        except (psutil.Error, IndexError):
            continue  # it ended meanwhile
        mib = (memory.rss - memory.shared) / 2**20
        cpu_of[process.pid] = times.user + times.system
        if process == driver:
            found.driver_mib = max(found.driver_mib, mib)
        elif mib > found.worker_mib and not name.startswith(_NOT_AT_WORK):
            found.worker_mib, found.worker = mib, name.removeprefix(_WORKER)
