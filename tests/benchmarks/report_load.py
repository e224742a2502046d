"""How large the report is, how long it takes to make, and how long Chromium takes to show it.

    python -m tests.benchmarks.report_load              # 25,000 answers: as many as the page holds
    python -m tests.benchmarks.report_load --answers 100000 --runs 1

In: made-up samples of all ten tasks in all eight settings, with inputs of some 900 characters, answered by some runs.
Out, printed: the page's size; seconds and peak memory of making it (a process of its own, after scoring); seconds from
the start of the navigation to the load event, and to the first samples that can be looked at; the medians of five.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest

from ecellm.config import EvaluateConfig
from tests.chromium import start_browser
from tests.evaluation.made_up_runs import (
    evaluate_here,
    make_samples,
    of_skill,
    report_shard,
    write_predictions,
    write_samples,
    write_training_log,
)

_NUM_PLACES = 64  # ten tasks in four settings in domain, six in four out of domain
_NUM_LOADS = 5
_NUM_WORDS, _VOCABULARY = 130, 20_000
_RENDER = """
import json, sys, time
from ecellm.evaluation.report.write import write_report
from tests.peak_memory import peak_bytes
start = time.perf_counter()
given = json.loads(sys.stdin.read())
write_report(given["shard"], output_dir=given["output_dir"], storage_config={})
seconds = time.perf_counter() - start
print(seconds, peak_bytes() / 1e6)
"""


def make_runs(root: Path, num_answers: int, num_runs: int) -> EvaluateConfig:
    """Make samples and answers, and score them."""
    num_samples = num_answers // num_runs
    samples = make_samples(root, num_test=num_samples // _NUM_PLACES + 1)[:num_samples]
    rng = np.random.default_rng(1)
    letters = np.array(list(ascii_lowercase))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 11, _VOCABULARY)]
    for sample in samples:
        _lengthen(sample, words, rng)
    mean = statistics.fmean(len(sample["input"]) for sample in samples)
    print(f"{num_runs * len(samples):,} answers to {len(samples):,} samples, inputs of {mean:,.0f} characters")
    config = EvaluateConfig(
        predictions_dirs=tuple(
            write_predictions(root / f"run-{run}", samples, of_skill({}, 0.3 + 0.1 * run), seed=run)
            for run in range(num_runs)
        ),
        samples_dir=write_samples(root / "samples", samples),
        training_dirs=(write_training_log(root / "tuned-model"),),
        output_dir=str(root / "out"),
        num_resamples=20,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        evaluate_here(config, monkeypatch)
    return config


def _lengthen(sample: dict[str, Any], words: Sequence[str], rng: np.random.Generator) -> None:
    """Give a sample's input words of its own, as often as words of a language are used: they compress as such."""
    places = np.minimum(rng.zipf(1.3, max(0, _NUM_WORDS - len(sample["input"]) // 6)), len(words)) - 1
    text = " ".join(words[place] for place in places)
    if sample["input"].startswith("{"):
        sample["input"] = json.dumps(json.loads(sample["input"]) | {"description": text})
    else:
        sample["input"] += f" {text}"


def render_again(config: EvaluateConfig) -> tuple[float, float]:
    """Make the page in a process of its own; return seconds and MB at the peak."""
    given = json.dumps({"shard": report_shard(config), "output_dir": config.output_dir})
    done = subprocess.run([sys.executable, "-c", _RENDER], input=given, capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def time_loads(page: Path, profile: Path) -> tuple[list[float], list[float]]:
    """Return seconds to the load event, and to the first samples shown, of several loads in one browser."""
    browser = start_browser(profile)
    loads, samples = [], []
    try:
        for _ in range(_NUM_LOADS):
            browser.get("about:blank")
            browser.get(f"file://{page}#samples")
            while not (shown := browser.execute_script(_SHOWN)):
                time.sleep(0.01)
            loads.append(browser.execute_script(_LOADED) / 1000)
            samples.append(shown / 1000)
    finally:
        browser.quit()
    return loads, samples


_LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
_SHOWN = "return performance.getEntriesByName('samples shown').map((mark) => mark.startTime)[0]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the report.")
    parser.add_argument("--answers", type=int, default=25_000)
    parser.add_argument("--runs", type=int, default=2, help="that share the answers; of one, the page holds most texts")
    given: Any = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        config = make_runs(root, given.answers, given.runs)
        page = Path(config.output_dir, "report.html")
        seconds, memory = render_again(config)
        print(f"page: {page.stat().st_size / 1e6:.1f} MB, made in {seconds:.1f} s, {memory:,.0f} MB at the peak")
        loads, samples = time_loads(page, root / "browser")
        print(f"Chromium: load event after {statistics.median(loads):.2f} s ({min(loads):.2f} to {max(loads):.2f})")
        print(f"          samples after {statistics.median(samples):.2f} s ({min(samples):.2f} to {max(samples):.2f})")


if __name__ == "__main__":
    main()
