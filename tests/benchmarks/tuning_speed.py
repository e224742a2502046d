"""How fast finetune trains: Gemma 3 270M, LoRA, real Product_Matching rows, against other loops in the same run.

    ECELLM_REAL_DATA=RAW python -m tests.benchmarks.tuning_speed [--only released,trainer,workers,start]

released  a loop that does what the released script does, fp32 and bf16: median of interleaved pairs, and their spread
trainer   transformers' Trainer with its usual collator at the same micro-batch and global batch
workers   two workers against two processes that know nothing of each other, one thread each
start     seconds from the command to the first step, tiny model

Ratios above 1 mean that finetune is faster. Losses of the first batch, fp32, are compared too.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.tuning_loops import (
    HuggingFace,
    Ours,
    Released,
    batches_of,
    config_of,
    join_group,
    raw_dir_or_exit,
    real_rows,
    timed,
)

_PAIRS = 5
_BATCH = 16
_WORKER_BATCH = 8  # of each worker
_TOLERANCE = 1e-4
_OTHERS = {"released": Released, "trainer": HuggingFace}


def compare(raw_dir: str, other: str, precision: str) -> None:
    """Print the ratio of finetune's tokens per second to another loop's."""
    join_group()
    config = config_of(precision=precision, cpus_per_worker=2)
    rows = real_rows(raw_dir, _BATCH * (_PAIRS + 1))
    ours, theirs = Ours(config), _OTHERS[other](config)
    speeds = []
    for number, batch in enumerate(batches_of(rows, _BATCH)):
        # In turns, now the one first, now the other: what else the machine does hits both.
        loops = [ours, theirs] if number % 2 else [theirs, ours]
        found = {loop: timed(loop.step, batch) for loop in loops}
        (mine, my_loss), (others, other_loss) = found[ours], found[theirs]
        if number == 0:  # warm-up; nothing is trained yet, so losses must agree
            difference = abs(my_loss - other_loss)
            print(f"{other} {precision}: loss {my_loss:.6f} against {other_loss:.6f}, difference {difference:.1e}")
            if precision == "fp32" and other == "released" and difference > _TOLERANCE:
                raise SystemExit("the losses differ: the loops do not compute the same")
            continue
        speeds.append((mine, others))
    ratios = sorted(mine / others for mine, others in speeds)
    print(
        f"{other} {precision}: {statistics.median(m for m, _ in speeds):.0f} against "
        f"{statistics.median(o for _, o in speeds):.0f} tokens/s, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} pairs)",
        flush=True,
    )


def work(raw_dir: str, rank: int, world_size: int, store: str) -> None:
    """Be one worker: train some batches with one thread; print tokens per second of the global batches."""
    join_group(rank, world_size, store)
    config = config_of(num_workers=world_size, cpus_per_worker=1)
    loop = Ours(config, rank=rank, world_size=world_size)
    size = _WORKER_BATCH * world_size
    batches = batches_of(real_rows(raw_dir, 3 * size), size)
    loop.step(batches[0])
    speeds = [timed(loop.step, batch)[0] for batch in batches[1:]]
    print(json.dumps({"tokens_per_second": statistics.median(speeds)}))


def _run_workers(raw_dir: str, groups: Sequence[Sequence[int]]) -> list[float]:
    """Start groups of workers side by side; return the tokens per second of each group."""
    with tempfile.TemporaryDirectory(prefix="ecellm-workers-") as scratch:
        processes = []
        for number, ranks in enumerate(groups):
            for rank in ranks:
                arguments = ["--worker", str(rank), str(len(ranks)), f"{scratch}/{number}", "--raw-dir", raw_dir]
                command = [sys.executable, "-m", "tests.benchmarks.tuning_speed", *arguments]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                processes.append((number, rank, process))
        speeds = [0.0] * len(groups)
        for number, rank, process in processes:
            output, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"worker {rank} of group {number} failed")
            if rank == 0:
                speeds[number] = json.loads(output.strip().splitlines()[-1])["tokens_per_second"]
        return speeds


def compare_workers(raw_dir: str) -> None:
    """Print what two workers reach together, as a share of what two independent processes reach side by side."""
    shares = []
    for _ in range(3):
        (together,) = _run_workers(raw_dir, [[0, 1]])
        apart = sum(_run_workers(raw_dir, [[0], [0]]))
        shares.append((together / apart, together, apart))
    share, together, apart = sorted(shares)[1]
    print(
        f"workers fp32, one thread each: {together:.0f} tokens/s together, {apart:.0f} apart, ratio {share:.2f} "
        f"({min(shares)[0]:.2f} to {max(shares)[0]:.2f}, 3 pairs)",
        flush=True,
    )


def measure_start() -> None:
    """Print the seconds from the command to the end of the first step on a tiny model."""
    from ecellm.training.tiny_model import make_tiny_model
    from tests.training.conftest import example_rows, write_rows

    with tempfile.TemporaryDirectory(prefix="ecellm-start-") as scratch:
        rows = write_rows(Path(scratch) / "rows", {"train": example_rows(64)})
        model = make_tiny_model(Path(scratch) / "model", ["a text to learn from"] * 10)
        command = [
            *(sys.executable, "-m", "jobs.finetune", f"rows_dir={rows}", f"base_model={model}"),
            *(f"output_dir={scratch}/out", "log_every_steps=1", "global_batch_size=16", "num_epochs=1"),
        ]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout
        seconds, lines = None, []
        for line in process.stdout:
            lines.append(line)
            if seconds is None and re.search(r"step 1/\d+", line):
                seconds = time.monotonic() - start
        if process.wait() or seconds is None:
            raise SystemExit("".join(lines[-20:]))
        print(f"start: first step after {seconds:.1f} s (tiny model, one worker, Ray's start included)", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="released,trainer,workers,start")
    parser.add_argument("--raw-dir", type=Path)
    parser.add_argument("--pair", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(str(given.raw_dir), int(given.worker[0]), int(given.worker[1]), given.worker[2])
        return
    if given.pair:
        compare(str(given.raw_dir), *given.pair)
        return
    wanted = given.only.split(",")
    raw_dir = raw_dir_or_exit(given.raw_dir) if set(wanted) - {"start"} else ""
    for other in _OTHERS:
        if other in wanted:
            for precision in ("fp32", "bf16"):
                # A process of its own each: two models at a time are enough for the memory.
                command = [sys.executable, "-m", "tests.benchmarks.tuning_speed", "--raw-dir", raw_dir]
                subprocess.run([*command, "--pair", other, precision], check=True)
    if "workers" in wanted:
        compare_workers(raw_dir)
    if "start" in wanted:
        measure_start()


if __name__ == "__main__":
    main()
