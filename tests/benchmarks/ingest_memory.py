"""Memory and time of ingest on a made-up release of 529 MB, against an idle Ray and against `json.load`.

    python -m tests.benchmarks.ingest_memory [megabytes]

Prints one line each: an idle local Ray, ingest (all its processes, sampled every 0.2 s, private memory), and a plain
`json.load` of the same file in one process.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from ecellm.sources.synthetic import Sizes, write_release

_IDLE = "from ecellm.config import RayConfig\nfrom ecellm.ray_session import connected\nimport time\nwith connected(RayConfig()):\n    time.sleep(6)\n"
_JSON_LOAD = "import json, sys\nprint(len(json.load(open(sys.argv[1]))))\n"


def peak_private_mib(command: list[str]) -> tuple[float, float]:
    """Run a command; return the peak of its processes' private memory together, in MiB, and its seconds."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    root = psutil.Process(process.pid)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _private_mib(root))
        time.sleep(0.2)
    reader.join()
    if process.returncode:
        sys.stderr.write("".join(lines[-30:]))
        raise SystemExit(f"{command} ended with {process.returncode}")
    return peak, time.monotonic() - start


def _private_mib(root: psutil.Process) -> float:
    total = 0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue  # it ended meanwhile
    return total / 2**20


def write_big_release(path: Path, megabytes: int) -> None:
    """Write a made-up release of about so many megabytes (10^6 bytes): the sizes of the real one, longer texts."""
    small = Sizes(train=100, val=10, test=10, padding_words=100)
    write_release(path, sizes=small)
    rows = int(100 * megabytes * 1e6 / path.stat().st_size)
    write_release(path, sizes=Sizes(train=rows, val=rows // 10, test=rows // 10, padding_words=100))


def main(megabytes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="ecellm-benchmark-") as scratch:
        release = Path(scratch) / "dataset.json"
        write_big_release(release, megabytes)
        python = sys.executable
        idle, _ = peak_private_mib([python, "-c", _IDLE])
        ingest = [python, "-m", "jobs.ingest", f"release={release}", f"output_dir={scratch}/out"]
        peak, seconds = peak_private_mib(ingest)
        plain, plain_seconds = peak_private_mib([python, "-c", _JSON_LOAD, str(release)])
        print(f"release: {release.stat().st_size / 1e6:.0f} MB")  # noqa: T201
        print(f"idle local Ray: {idle:.0f} MiB")  # noqa: T201
        print(f"ingest: {peak:.0f} MiB, {peak - idle:.0f} above idle, {seconds:.1f} s with Ray's start")  # noqa: T201
        print(f"json.load: {plain:.0f} MiB, {plain_seconds:.1f} s")  # noqa: T201
        rows = json.loads((Path(scratch) / "out" / "_manifest.json").read_text())["rows"]
        print(f"rows: {rows:,}")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 529)
