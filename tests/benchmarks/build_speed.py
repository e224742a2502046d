"""The build against a plain program in one process, on the same made-up raw files.

    python -m tests.benchmarks.build_speed [--scales 100000,1000000] [--world DIR]

For each number of reviews (products: 0.3 times as many) it runs, one after the other,

    the build      PRP, SA and SR, sizes `all`, on 2 workers and on 1: seconds from the connected Ray to the manifest
    the opponent   tests/benchmarks/pandas_build.py on all CPUs, with and without the contract's ids: seconds
                   without imports

and prints a table in Markdown: seconds, the ratio of the opponent's seconds to the build's (above 1 the build is
faster), rows and users a second, and the memory of the largest process. SR alone is timed too, and half the largest
scale, for how time grows with the input.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.processes import Watched, watch

_TASKS = "PRP,SA,SR"
_BUILD = """
import json, sys, time
from ecellm.config import BuildConfig, RayConfig
from ecellm.dataset.build import STAGE
from ecellm.ray_session import connected
from ecellm.stage import execute
raw_dir, output_dir, tasks, num_workers = sys.argv[1:]
with connected(RayConfig()):
    start = time.perf_counter()
    execute(STAGE, BuildConfig(
        raw_dir=raw_dir, output_dir=output_dir, tasks=tuple(tasks.split(",")), num_workers=int(num_workers)
    ))
    print(f"total {time.perf_counter() - start:.2f} s")
counts = json.load(open(f"{output_dir}/_manifest.json"))["details"]["counts"]
users = sum(rows for setting, split, task, rows in counts if "Single" in setting and split == "test" and task[:3] == "Seq")
print(f"users {users}")
"""


def _write_world(directory: Path, scale: int) -> None:
    if not directory.exists():
        command = [sys.executable, "-m", "jobs.synthesize", str(directory), "--scale", str(scale)]
        subprocess.run(
            [*command, "--sources", "amazon_review_2018,amazon_review_2014"], check=True, capture_output=True
        )


def _seconds(run: Watched) -> float:
    found = re.search(r"total\s+([\d.]+) s", run.output)
    assert found, run.output[-2000:]
    return float(found[1])


def _users(run: Watched) -> int:
    found = re.search(r"users (\d+)", run.output)
    assert found, run.output[-2000:]
    return int(found[1])


def _build(world: Path, tasks: str, num_workers: int) -> Watched:
    with tempfile.TemporaryDirectory(prefix="ecellm-build-") as scratch:
        return watch([sys.executable, "-c", _BUILD, str(world), f"{scratch}/out", tasks, str(num_workers)])


def _opponent(world: Path, *options: str) -> Watched:
    with tempfile.TemporaryDirectory(prefix="ecellm-pandas-") as scratch:
        command = [sys.executable, "-m", "tests.benchmarks.pandas_build", str(world), f"{scratch}/out"]
        return watch([*command, "--tasks", _TASKS, *options])


def _compare(world: Path, scale: int) -> tuple[list[str], float]:
    """Return table rows for one scale, and the seconds of the build on two workers."""
    runs = {
        "build, 2 workers": _build(world, _TASKS, 2),
        "build, 1 worker": _build(world, _TASKS, 1),
        "pandas, all CPUs, with ids": _opponent(world, "--ids"),
        "pandas, all CPUs, without ids": _opponent(world),
        "pandas, 1 thread, with ids": _opponent(world, "--ids", "--threads", "1"),
    }
    ours = _seconds(runs["build, 2 workers"])
    rows = [
        f"| {scale:,} | {name} | {_seconds(run):.1f} | {_seconds(run) / ours:.2f} | {run.peak_of_one_mib:,.0f} |"
        for name, run in runs.items()
    ]
    return rows, ours


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="100000,1000000")
    parser.add_argument("--world", type=Path, help="keep the worlds here; default a temporary directory")
    arguments = parser.parse_args()
    scales = [int(scale) for scale in arguments.scales.split(",")]
    with tempfile.TemporaryDirectory(prefix="ecellm-world-") as scratch:
        root = arguments.world or Path(scratch)
        lines = [
            "| reviews | program | seconds | seconds / build's | MiB, largest process |",
            "| ---: | --- | ---: | ---: | ---: |",
        ]
        for scale in scales:
            _write_world(root / str(scale), scale)
            rows, largest = _compare(root / str(scale), scale)
            lines += rows
        half = root / str(scales[-1] // 2)
        _write_world(half, scales[-1] // 2)
        of_half = _seconds(_build(half, _TASKS, 2))
        sequences = _build(root / str(scales[-1]), "SR", 2)
    lines += [
        "",
        f"half of it ({scales[-1] // 2:,} reviews), 2 workers: {of_half:.1f} s; doubled: {largest / of_half:.2f} times",
        f"SR alone, 2 workers: {_seconds(sequences):.1f} s, {_users(sequences) / _seconds(sequences):,.0f} users a second",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
