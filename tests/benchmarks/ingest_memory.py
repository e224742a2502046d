"""Memory and time of ingest on a made-up release of 529 MB, against an idle Ray and against `json.load`.

    python -m tests.benchmarks.ingest_memory [megabytes]

Prints one line each: an idle local Ray, ingest (all its processes, sampled every 0.2 s, private memory), a plain
`json.load` of the same file in one process, and `datasets.load_dataset("json")` of it.
"""

import json
import sys
import tempfile
from pathlib import Path

from ecellm.sources.synthetic import Sizes, write_release
from tests.benchmarks.processes import watch

_IDLE = "from ecellm.config import RayConfig\nfrom ecellm.ray_session import connected\nimport time\nwith connected(RayConfig()):\n    time.sleep(6)\n"
_JSON_LOAD = "import json, sys\nprint(len(json.load(open(sys.argv[1]))))\n"
_LOAD_DATASET = """
import sys, tempfile, time, datasets
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory() as cache:
    start = time.monotonic()
    rows = datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=cache, split="train").num_rows
    print(f"{rows} rows in {time.monotonic() - start:.1f} s")
"""


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
        idle = watch([python, "-c", _IDLE])
        ingest = watch([python, "-m", "jobs.ingest", f"release={release}", f"output_dir={scratch}/out"])
        plain = watch([python, "-c", _JSON_LOAD, str(release)])
        loaded = watch([python, "-c", _LOAD_DATASET, str(release)])
        manifest = json.loads((Path(scratch) / "out" / "_manifest.json").read_text())
        lines = [
            f"release: {release.stat().st_size / 1e6:.0f} MB, {manifest['rows']:,} rows",
            f"idle local Ray: {idle.peak_mib:.0f} MiB",
            (
                f"ingest: {ingest.peak_mib:.0f} MiB, {ingest.peak_mib - idle.peak_mib:.0f} above idle, "
                f"{manifest['wall_seconds']:.1f} s, {ingest.seconds:.1f} s with Ray's start"
            ),
            f"json.load: {plain.peak_mib:.0f} MiB, {plain.seconds:.1f} s",
            (
                f"datasets.load_dataset('json'): {loaded.peak_mib:.0f} MiB, {loaded.output.strip()}, "
                f"{loaded.seconds:.1f} s with its import"
            ),
        ]
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 529)
