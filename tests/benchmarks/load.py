"""How time and memory of ingest, preprocess, predict and evaluate grow with the rows, from a sixteenth to all of them.

    python -m tests.benchmarks.load --rows 1000000 [--dir DIRECTORY] [--only ingest,predict]

It makes a release of that size up, then runs each job as a user does, at three sizes: `python -m jobs.NAME` on a local
Ray. predict asks no model (`engine=fake`), of the train split, which has most of the rows. `one task` are all rows in
one task, setting and split, predicted and evaluated. Out: a table in Markdown,

    stage | rows | seconds | rows/s | CPU ms a row | driver MiB | largest worker MiB | step | output MiB | files | time / before | rows / before

Seconds include Ray's start (some 6). Where `time / before` stays below `rows / before`, nothing grows faster than the
rows; where both MiB columns stay, memory does not follow the rows. What is done is kept in DIRECTORY/results.json, so
that the same command goes on after a kill; inputs and outputs are removed as soon as nothing needs them. Without --dir
all of it is in a temporary directory that goes at the end. A million rows need some 12 GB of disk at the peak.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.load_release import write_big_release, write_model, write_one_task
from tests.benchmarks.watched_job import run_job

_STAGES = ("ingest", "preprocess", "predict", "evaluate", "one task: predict", "one task: evaluate")
Result = dict[str, Any]


class Size:
    """The directories of one size, and how each stage is run there."""

    def __init__(self, root: Path, num_rows: int) -> None:
        self._root = root
        self._num_rows = num_rows
        self._base = root / str(num_rows)
        self._model = root / "model"

    def path(self, name: str) -> Path:
        """Return where something of this size lies."""
        return self._base / name.replace(": ", "-").replace(" ", "-")  # an override's value is YAML

    def clear(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self._base, ignore_errors=True)

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return an input, made if it is not there; what was begun and not finished is made anew."""
        path, done = self.path(name), self.path(f"{name}.done")
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            done.touch()
        return path

    def _done(self, stage: str) -> Path:
        """Return a stage's output, made if it is not there."""
        if not (self.path(stage) / "_manifest.json").exists():
            run_job(self.arguments(stage))
        return self.path(stage)

    def arguments(self, stage: str) -> list[str]:
        """Return the command of a stage; what it reads is made first."""
        out = f"output_dir={self.path(stage)}"
        if stage == "ingest":
            release = self._made("dataset.json", lambda path: write_big_release(path, self._num_rows))
            return ["jobs.ingest", f"release={release}", out]
        if stage == "preprocess":
            if not self._model.exists():
                write_model(self._model)
            samples = self._done("ingest")
            return ["jobs.preprocess", f"samples_dir={samples}", f"base_model={self._model}", out, "max_length=4096"]
        is_one = stage.startswith("one task")
        samples = (
            self._made("samples-of-one-task", lambda path: write_one_task(str(path), self._num_rows))
            if is_one
            else self._done("ingest")
        )
        if stage.endswith("predict"):
            split = "test" if is_one else "train"
            return ["jobs.predict", f"samples_dir={samples}", "model=none", "engine=fake", f"split={split}", out]
        answers = self._done("one task: predict" if is_one else "predict")
        return ["jobs.evaluate", f"samples_dir={samples}", f"predictions_dir={answers}", out]

    def measure(self, stage: str) -> Result:
        """Run a stage from nothing, and return what it took."""
        arguments = self.arguments(stage)
        shutil.rmtree(self.path(stage), ignore_errors=True)
        watched = run_job(arguments)
        manifest = json.loads((self.path(stage) / "_manifest.json").read_text())
        input_rows = self._rows_in(stage, manifest)
        return {
            "stage": stage,
            "rows": input_rows,
            "seconds": watched.seconds,
            "work_seconds": manifest["wall_seconds"],
            "cpu_seconds": watched.cpu_seconds,
            "driver_mib": watched.driver_mib,
            "worker_mib": watched.worker_mib,
            "worker": watched.worker,
            "output_bytes": sum(file["size"] for file in manifest["files"]),
            "num_files": len(manifest["files"]),
            "manifest_bytes": (self.path(stage) / "_manifest.json").stat().st_size,
        }

    def _rows_in(self, stage: str, manifest: Result) -> int:
        """Return the rows that a stage worked on; evaluate's own count is of figures."""
        if not stage.endswith("evaluate"):
            return int(manifest["rows"])
        answers = self.path("one task: predict" if stage.startswith("one") else "predict")
        return int(json.loads((answers / "_manifest.json").read_text())["rows"])


def table(results: Sequence[Result]) -> str:
    """Return the results as Markdown, stage by stage."""
    lines = [
        (
            "| stage | rows | seconds | rows/s | CPU ms a row | driver MiB | largest worker MiB | step | output MiB | "
            "files | time / before | rows / before |"
        ),
        "| --- " + "| ---: " * 6 + "| --- " + "| ---: " * 4 + "|",
    ]
    for stage in _STAGES:
        before: Result | None = None
        for result in sorted((own for own in results if own["stage"] == stage), key=lambda own: own["rows"]):
            ratios = "| |"
            if before:
                ratios = f"| {result['seconds'] / before['seconds']:.2f} | {result['rows'] / before['rows']:.2f} |"
            lines.append(
                f"| {stage} | {result['rows']:,} | {result['seconds']:.1f} | {result['rows'] / result['seconds']:,.0f} "
                f"| {1000 * result['cpu_seconds'] / result['rows']:.3f} "
                f"| {result['driver_mib']:.0f} | {result['worker_mib']:.0f} | {result['worker']} "
                f"| {result['output_bytes'] / 2**20:.1f} | {result['num_files']} {ratios}"
            )
            before = result
    return "\n".join(lines) + "\n"


def measure_all(root: Path, sizes: Sequence[int], stages: Sequence[str]) -> list[Result]:
    """Measure what is not measured yet, the smallest size first; keep results in `results.json`."""
    kept = root / "results.json"
    results: list[Result] = json.loads(kept.read_text()) if kept.exists() else []
    for num_rows in sizes:
        size = Size(root, num_rows)
        for stage in stages:
            if any((own["stage"], own["size"]) == (stage, num_rows) for own in results):
                continue
            result = size.measure(stage) | {"size": num_rows}
            sys.stderr.write(f"{stage}: {result['rows']:,} rows, {result['seconds']:.1f} s\n")
            results.append(result)
            kept.write_text(json.dumps(results, indent=1))
        size.clear()
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the largest size")
    parser.add_argument("--dir", type=Path, help="where to work; kept, with the results, to go on after a kill")
    parser.add_argument("--only", default=",".join(_STAGES), help="stages, joined by commas; default %(default)s")
    parser.add_argument(
        "--shares", default="16,4,1", help="sizes: the rows divided by each of these, smallest size first"
    )
    given = parser.parse_args()
    sizes = [given.rows // int(share) for share in given.shares.split(",")]
    stages = [stage for stage in _STAGES if stage in given.only.split(",")]
    with tempfile.TemporaryDirectory(prefix="ecellm-load-") as scratch:
        root = (given.dir or Path(scratch)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(table(measure_all(root, sizes, stages)))


if __name__ == "__main__":
    main()
