"""What a row costs in each step of ingest, preprocess, predict (no model) and evaluate: processor time, bytes, memory.

    python -m tests.benchmarks.row_costs [--rows 20000] [--nodes 64] [--target 100000000]

The steps are called one after the other in this process, as Ray's tasks call them, so that nothing is waited for and
other work on the machine counts little: seconds are of CPU time. At two sizes, a quarter of the rows and all of them;
`growth` is the cost of a row at the larger size over that at the smaller one: above 1, the step grows faster than the rows.
Out: two tables in Markdown, the measured costs, and what they make of many rows on many nodes of 16 CPUs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ecellm.config import EvaluateConfig, PredictConfig, PreprocessConfig
from ecellm.dataset import ingest
from ecellm.dataset.split_release import split_release
from ecellm.evaluation.answered import asked_by_any, sample_files
from ecellm.evaluation.classical_floors import answer_classical_floors, plan_classical_floors
from ecellm.evaluation.evaluate import make_shards
from ecellm.evaluation.listing import Listing, check_ids, list_directory
from ecellm.evaluation.report.write import write_report
from ecellm.evaluation.score_shard import evaluate_shard
from ecellm.evaluation.similarity.shard import compute_without_models
from ecellm.evaluation.similarity.step import plan_parts
from ecellm.finished_files import describe_files
from ecellm.inference import predict
from ecellm.inference.answerer import Answerer
from ecellm.prompts import preprocess
from ecellm.stages import answer_space
from ecellm.storage import Storage
from tests.benchmarks.load_release import write_big_release, write_model

_CPUS_OF_A_NODE = 16


class Costs:
    """Measures steps.

    Attributes:
        steps: by name: rows, CPU seconds, bytes written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.steps: dict[str, dict[str, float]] = {}

    @contextmanager
    def step(self, name: str, rows: int) -> Iterator[None]:
        """Measure what the block does to `rows` rows."""
        bytes_before, start = self._bytes(), time.process_time()
        yield
        found = self.steps.setdefault(name, {"rows": rows, "seconds": 0.0, "bytes": 0})
        found["seconds"] += time.process_time() - start
        found["bytes"] += self._bytes() - bytes_before

    def _bytes(self) -> int:
        return sum(path.stat().st_size for path in self._root.rglob("*") if path.is_file())


def measure_ingest(costs: Costs, root: Path, num_rows: int) -> None:
    """Write a release, and samples of it."""
    release, out = root / "dataset.json", str(root / "samples")
    write_big_release(release, num_rows)
    with costs.step("ingest: split the release", num_rows):
        split = split_release(str(release), out, {}, {}, "fail")
    arguments = {"output_dir": out, "storage_config": {}, "labels": None, "max_rows": 50_000}
    catalogue = ingest._catalogue(split["instructions"])
    with costs.step("ingest: write partitions", num_rows):
        for shard in ingest._partition_shards(split["chunks"]):
            ingest.write_partition(shard, catalogue=catalogue, **arguments)
    Storage().remove(f"{out}/staging")


def measure_preprocess(costs: Costs, root: Path) -> None:
    """Tokenize the training rows."""
    write_model(root / "model")
    config = PreprocessConfig(
        samples_dir=str(root / "samples"),
        base_model=str(root / "model"),
        output_dir=str(root / "rows"),
        max_length=4096,
    ).model_dump_json()
    arguments = {"config_json": config, "output_dir": str(root / "rows")}
    shards = preprocess._plan(config)
    num_rows = sum(end - start for shard in shards for _, start, end in shard["piece"])
    with costs.step("preprocess: tokenize", num_rows):
        results = [preprocess.tokenize_part(shard, **arguments) for shard in shards]
    with costs.step("preprocess: number", num_rows):
        for shard in preprocess._number(results):
            preprocess.number_part(shard, **arguments)
    with costs.step("preprocess: index (one task)", num_rows):
        for split in ("train", "val"):
            preprocess.write_index(str(root / "rows"), split, {})
    Storage().remove(str(root / "rows" / "staging"))


def measure_predict(costs: Costs, root: Path) -> int:
    """Answer the train split without a model; return how many rows that are."""
    out = str(root / "answers")
    config = PredictConfig(
        samples_dir=str(root / "samples"), model="none", engine="fake", split="train", output_dir=out
    )
    shards, limits = predict._plan(config, out, "f" * 64)
    num_rows = sum(shard["num_rows"] for shard in shards)
    with costs.step("predict: all but the model", num_rows):
        answerer = Answerer(
            config_json=config.model_dump_json(), output_dir=out, answer_space=answer_space, answer_limits=limits
        )
        for shard in shards:
            answerer(shard)
    return num_rows


def measure_evaluate(costs: Costs, root: Path, num_rows: int) -> None:
    """Score the answers, and write the report."""
    out, storage = str(root / "scores"), Storage()
    config = EvaluateConfig(samples_dir=str(root / "samples"), predictions_dir=str(root / "answers"), output_dir=out)
    with costs.step("evaluate: list (one task)", num_rows):
        listing = Listing.of(
            list_directory({"directory": config.all_predictions[0], "task_specific": False}, storage_config={})
        )
    samples, of_floors = sample_files(storage, config.samples_dir), asked_by_any(listing.runs)
    shards = make_shards(listing.runs, of_floors, samples, listing.rows, compared=listing.runs, roles=listing.roles)
    with costs.step("evaluate: check ids", num_rows):
        for shard in shards:
            if shard["kind"] == "run":
                check_ids({"directory": "", "run": 0, **shard}, storage_config={})
    parts = plan_parts(listing.runs, of_floors, samples, out)
    rows_of_generation = sum(shard["num_rows"] for shard in shards if shard["task"] == "Answer_Generation")
    with costs.step("evaluate: ROUGE-L of free text", max(1, rows_of_generation)):
        for part in parts:
            compute_without_models(part, config_json=config.model_dump_json())
    classical = plan_classical_floors(of_floors, samples)
    with costs.step("evaluate: classical floors", num_rows):
        for shard in classical:
            answer_classical_floors(shard, output_dir=out, storage_config={})
    arguments = {"samples_fingerprint": "f" * 64, "storage_config": {}, "num_resamples": 10_000, "seed": 1}
    for shard in shards:
        name = "free text" if shard["task"] == "Answer_Generation" else "all other tasks"
        kind = "score" if shard["kind"] == "run" else "floors"
        with costs.step(f"evaluate: {kind}, {name}", 0):
            evaluate_shard(shard, output_dir=out, **arguments)
        costs.steps[f"evaluate: {kind}, {name}"]["rows"] += shard["num_rows"]
    report = {"predictions_dirs": [listing.directory], "samples_dir": config.samples_dir, "training_dirs": []}
    models = {"bertscore_model": None, "bertscore_layer": None, "bleurt_model": None}
    with costs.step("evaluate: report (one task)", num_rows):
        nothing = {
            "comparisons": [],
            "columns": [0],
            "roles": [["ours"]],
            "studies": [],
            "pairs": [],
            "similarity_models": models,
        }
        write_report(report | nothing, output_dir=out, storage_config={})
    with costs.step("manifest: SHA-256 of all files (one task)", num_rows):
        for name in ("samples", "rows", "answers", "scores"):
            describe_files(storage, str(root / name))


def measure(num_rows: int) -> dict[str, dict[str, float]]:
    """Return what each step took, by name."""
    with tempfile.TemporaryDirectory(prefix="ecellm-costs-") as scratch:
        root = Path(scratch)
        costs = Costs(root)
        measure_ingest(costs, root, num_rows)
        measure_preprocess(costs, root)
        measure_evaluate(costs, root, measure_predict(costs, root))
        return costs.steps


Steps = Mapping[str, Mapping[str, float]]


def marginal_seconds(few: Steps, many: Steps, name: str) -> float:
    """Return the CPU seconds of one more row: what a step takes however few rows there are is not in it."""
    more = many[name]["seconds"] - few[name]["seconds"]
    return max(0.0, more / (many[name]["rows"] - few[name]["rows"]))


def table(few: Steps, many: Steps) -> Sequence[str]:
    """Return the measured costs as lines of Markdown."""
    lines = [
        "| step | rows | CPU ms a row | CPU ms of one more row | bytes written a row | growth |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, own in many.items():
        cost, before = own["seconds"] / own["rows"], few[name]["seconds"] / few[name]["rows"]
        marginal = 1000 * marginal_seconds(few, many, name)
        lines.append(
            f"| {name} | {own['rows']:,.0f} | {1000 * cost:.3f} | {marginal:.3f} | {own['bytes'] / own['rows']:,.0f} | "
            f"{cost / before:.2f} |"
        )
    return lines


def extrapolated(few: Steps, many: Steps, target: int, nodes: int) -> Sequence[str]:
    """Return lines of Markdown: each step on `target` rows, all of them going through it."""
    cpus = nodes * _CPUS_OF_A_NODE
    lines = [
        f"| step | CPU hours of {target:,} rows | at once | hours on {nodes} nodes x {_CPUS_OF_A_NODE} CPUs | GB written |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, own in many.items():
        hours = marginal_seconds(few, many, name) * target / 3600
        at_once = 1 if "one task" in name or "split the release" in name else cpus
        lines.append(
            f"| {name} | {hours:,.1f} | {at_once:,} | {hours / at_once:,.2f} | "
            f"{own['bytes'] / own['rows'] * target / 1e9:,.0f} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the larger release")
    parser.add_argument("--target", type=int, default=100_000_000, help="rows to extrapolate to")
    parser.add_argument("--nodes", type=int, default=64, help="nodes to extrapolate to")
    given = parser.parse_args()
    measure(500)  # imports that wait for their first use
    few, many = measure(given.rows // 4), measure(given.rows)
    sys.stdout.write("\n".join([*table(few, many), "", *extrapolated(few, many, given.target, given.nodes)]) + "\n")


if __name__ == "__main__":
    main()
