"""How fast predict answers: Gemma 3 270M on CPU, the real Product_Matching test rows, against what the release does.

    ECELLM_REAL_DATA=RAW python -m tests.benchmarks.answering_speed [--tuned MODEL] [--only untuned,tuned,fake]

untuned  `choice` against the released script's way (text-generation pipeline, batch 2, sampling, 100 new tokens) on the
         model as it is, which runs to 100 tokens
tuned    `choice` and `greedy` against the same on a tuned model, which stops after its answer: MODEL, such as the
         `merged/` of `jobs/recipes/pm_gemma270m.yaml` run with stages.tuned.config.export_merged=true
fake     the whole job without a model, on a million rows: rows a second, memory, files

The released way computes in bf16; predict in fp32, its own choice on CPUs, and in bf16. All CPUs, loading not counted;
medians of rounds, with the ratios' spread. Ratios above 1: predict is faster.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import SampleNumberer, sample_row, samples_table
from ecellm.inference.batching import batches, share
from ecellm.inference.engines.transformers_engine import TransformersEngine, load_model
from ecellm.inference.request import Answer, Request
from ecellm.models import local_model
from ecellm.storage import Storage, join
from tests.benchmarks.answering_prompts import real_requests, tokenizer_of
from tests.benchmarks.processes import watch
from tests.benchmarks.tuning_loops import MODEL, raw_dir_or_exit

_PAPER_NEW_TOKENS = 100
_RELEASED = "released"
_PRECISIONS = ("fp32", "bf16")
_MOST_ROWS_OF_A_BATCH = 16
_ROUNDS = 5
_UNTUNED_ROWS = 10  # of a round: the released way takes four seconds for each
_FAKE_ROWS, _FAKE_SPLITS = 1_000_000, 10
_FAKE_INPUT_CHARACTERS = 900  # about those of Product_Matching


class Released:
    """What the released script does with a loaded model."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        import transformers

        transformers.utils.logging.set_verbosity_error()
        self._pipeline = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=2)

    def answers(self, requests: Sequence[Request]) -> list[str]:
        """Answer requests."""
        found = self._pipeline(
            [request.prompt for request in requests],
            do_sample=True,
            temperature=0.15,
            top_p=0.95,
            max_new_tokens=_PAPER_NEW_TOKENS,
            return_full_text=False,
        )
        return [row[0]["generated_text"] for row in found]


class Ours:
    """The embedded engine, as an actor of predict has it."""

    def __init__(self, model: Any, tokenizer: Any, decoding: str) -> None:
        self._engine = TransformersEngine(
            model, tokenizer, decoding=decoding, seed=1, max_batch_size=_MOST_ROWS_OF_A_BATCH
        )

    def answers(self, requests: Sequence[Request]) -> list[str]:
        """Answer requests."""
        found = dict(self._engine.answer(requests, None))
        answers = [found[place] for place in range(len(requests))]
        return [answer.text for answer in answers if isinstance(answer, Answer)]


def compare(name: str, path: str, decodings: Sequence[str], requests: Sequence[Request], num_rows: int) -> None:
    """Print the ratios of predict's rows per second to the released way's, each round on rows of its own."""
    tokenizer = tokenizer_of(path).tokenizer
    models = {precision: load_model(path, None, {}, precision=precision, use_gpu=False) for precision in _PRECISIONS}
    ours = {
        f"{decoding} {precision}": Ours(models[precision], tokenizer, decoding)
        for decoding in decodings
        for precision in _PRECISIONS
    }
    engines: dict[str, Ours | Released] = {_RELEASED: Released(models["bf16"], tokenizer), **ours}
    speeds: dict[str, list[float]] = {who: [] for who in engines}
    for engine in engines.values():
        engine.answers(requests[-2:])  # warm-up
    for number in range(_ROUNDS):
        rows = requests[number * num_rows : (number + 1) * num_rows]
        # In turns, now from the one end, now from the other: what else the machine does hits all.
        for who in [*engines][:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            engines[who].answers(rows)
            speeds[who].append(len(rows) / (time.perf_counter() - start))
    for who in ours:
        ratios = sorted(mine / others for mine, others in zip(speeds[who], speeds[_RELEASED], strict=True))
        print(
            f"{name} {who}: {statistics.median(speeds[who]):.2f} against {statistics.median(speeds[_RELEASED]):.2f} "
            f"rows/s, ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {_ROUNDS} rounds of "
            f"{num_rows} rows)",
            flush=True,
        )


def show_padding(requests: Sequence[Request]) -> None:
    """Print what sharing saves, and how much padding is left, over all test rows as one shard."""
    prompts = [request.prompt_ids for request in requests]
    tokens = sum(map(len, prompts))
    computed = positions = 0
    for group in share(prompts, longest=512):
        lengths = [len(prompt) - group.num_shared for prompt in prompts]
        computed += group.num_shared + sum(lengths[place] for place in group.places)
        positions += group.num_shared
        positions += sum(
            lengths[batch[0]] * len(batch) for batch in batches(lengths, group.places, _MOST_ROWS_OF_A_BATCH)
        )
    print(
        f"{len(prompts)} prompts of {tokens / len(prompts):.0f} tokens: {1 - computed / tokens:.1%} of the tokens are "
        f"shared, padding is {1 - computed / positions:.1%} of what is computed",
        flush=True,
    )


def write_fake_samples(directory: str) -> None:
    """Write a million short samples in several settings."""
    settings = ("IND_Diverse_Instruction", "IND_Unseen_Instruction")
    storage, each = Storage(), _FAKE_ROWS // _FAKE_SPLITS
    tasks = ("Product_Matching", "Product_Substitute_Identification", "Answerability_Prediction", "Poetry", "Prose")
    for setting in settings:
        for task in tasks:
            partition = Partition(setting, "test", task)
            numberer = SampleNumberer(partition)
            texts = {"instruction": "Say yes or no.", "options": None, "output": "yes", "few_shot_example": None}
            rows = (
                sample_row(numberer, texts | {"input": f"{number} ".ljust(_FAKE_INPUT_CHARACTERS, "x")}, partition)
                for number in range(each)
            )
            path = join(partition.directory(directory), part_name(0))
            storage.write_table(path, samples_table(list(rows)), row_group_size=10_000)


def measure_fake() -> None:
    """Print what the whole job takes without a model."""
    with tempfile.TemporaryDirectory(prefix="ecellm-fake-") as scratch:
        samples, out = join(scratch, "samples"), join(scratch, "out")
        write_fake_samples(samples)
        arguments = [f"samples_dir={samples}", "model=none", "engine=fake", f"output_dir={out}", "num_actors=2"]
        watched = watch([sys.executable, "-m", "jobs.predict", *arguments])
        files = list((Path(out) / "data").rglob("*.parquet"))
        rows = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
        sizes = sorted(path.stat().st_size / 2**20 for path in files)
        (work,) = [line for line in watched.output.splitlines() if " in all: " in line]
    if rows != _FAKE_ROWS:
        raise SystemExit(f"{rows} rows were answered")
    print(f"fake: {rows:,} rows in {watched.seconds:.0f} s from command to end; {work.split('predict: ')[-1]}")
    print(
        f"fake: {len(files)} files of {sizes[0]:.1f} to {sizes[-1]:.1f} MiB; largest process {watched.peak_of_one_mib:.0f} MiB, all processes "
        f"{watched.peak_mib:.0f} MiB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw-dir", type=Path)
    parser.add_argument("--tuned", help="directory of a tuned model, whole or merged")
    parser.add_argument("--only", default="untuned,tuned,fake")
    given = parser.parse_args()
    only = given.only.split(",")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    base = local_model(MODEL, None, Storage())
    if {"untuned", "tuned"} & set(only):
        requests = real_requests(raw_dir_or_exit(given.raw_dir), tokenizer_of(base))
        show_padding(requests)
    if "untuned" in only:
        compare("untuned", base, ("choice",), requests, _UNTUNED_ROWS)
    if "tuned" in only and given.tuned:
        compare("tuned", given.tuned, ("choice", "greedy"), requests, len(requests) // _ROUNDS)
    elif "tuned" in only:
        print("tuned: not measured; give --tuned MODEL")
    if "fake" in only:
        measure_fake()


if __name__ == "__main__":
    main()
