"""Scores made-up answers to one task as one of evaluate's shards, and prints what this took: memory at the peak, CPU, output.

    python -m tests.evaluation.scoring_memory DIRECTORY TASK NUM_ROWS [floors]

In a process of its own and without Ray, so that nothing else is counted.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import SampleNumberer, sample_row, samples_table
from ecellm.evaluation.listing import check_ids
from ecellm.evaluation.score_shard import evaluate_shard
from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage, join
from ecellm.tasks import Task, task_named
from tests.peak_memory import peak_bytes

SETTING = "IND_Diverse_Instruction"
_ROWS_OF_A_FILE = 1000
_WORDS = ["steel", "red", "large", "cotton", "pack of 2", "usb", "blue", "12 inch"]
_LETTERS = {"PRP": "ABC", "SA": "ABCDE", "MPC": "ABCD", "SR": "ABCDEFGHIJKLMNOPQRST"}


def _answer(task: Task, rng: random.Random) -> str:
    """Return a readable answer."""
    name = task.short_name
    if name in _LETTERS:
        return rng.choice(_LETTERS[name])
    if name == "AVE":
        labels = [
            {"attribute": f"attribute {rng.randint(0, 79)}", "value": rng.choice(_WORDS), "source": "product title"}
            for _ in range(rng.randint(1, 4))
        ]
        return json.dumps(labels)
    if name == "QPR":
        return ",".join(rng.sample("ABC", 3))
    return " ".join(rng.choices(_WORDS, k=20)) if name == "AG" else rng.choice(["yes", "no"])


def write_answers(directory: str, task: Task, num_rows: int) -> dict[str, object]:
    """Write samples and predictions of one place; return them as a shard of `evaluate_shard`."""
    storage, rng = Storage(), random.Random(task.name)
    partition = Partition(SETTING, "test", task.name)
    numberer = SampleNumberer(partition)
    samples: list[str] = []
    predictions: list[str] = []
    for part, start in enumerate(range(0, num_rows, _ROWS_OF_A_FILE)):
        rows = []
        for number in range(start, min(num_rows, start + _ROWS_OF_A_FILE)):
            texts = {"instruction": "Do it.", "input": f"{number} ".ljust(500, "x"), "options": None}
            texts |= {"output": _answer(task, rng), "few_shot_example": None}
            rows.append(sample_row(numberer, texts, partition, relevance=["E", "S", "I"]))
        samples.append(join(partition.directory(join(directory, "samples")), part_name(part)))
        storage.write_table(samples[-1], samples_table(rows))
        answers = list(_predictions(task, rows, rng))
        place = join(directory, "predictions", "data", f"setting={SETTING}", f"task={task.name}")
        predictions.append(join(place, part_name(part)))
        storage.write_table(predictions[-1], pa.Table.from_pylist(answers, schema=PREDICTIONS))
    shard = {"number": 0, "setting": SETTING, "task": task.name, "predictions": predictions, "role": "ours"}
    return shard | {"samples": {"test": samples}}


def _predictions(task: Task, rows: list[dict[str, object]], rng: random.Random) -> Iterator[dict[str, object]]:
    for row in rows:
        keys = {name: row[name] for name in ("sample_id", "example_id", "task", "split", "setting", "row_index")}
        facts = {"num_prompt_tokens": rng.randint(80, 900), "was_shortened": rng.random() < 0.05}
        run = {"run_id": "0123456789ab", "model": "made-up", "engine": "fake", "decoding": "greedy"}
        answer = rng.choice([str(row["output"]), _answer(task, rng), "I do not know."])
        yield (
            run
            | keys
            | facts
            | {"response": answer, "finish_reason": "stop"}
            | {"prompt_sha256": "", "num_completion_tokens": 1}
        )


def main(directory: str, name: str, num_rows: int, kind: str) -> None:
    """Write, score in both flavours with intervals and slices, and print the peak of this process in bytes."""
    shard = write_answers(directory, task_named(name), num_rows)
    start = time.process_time()
    check_ids({"directory": "", "run": 0, **shard}, storage_config={})
    arguments = {"samples_fingerprint": "f", "storage_config": {}, "num_resamples": 100, "seed": 1}
    evaluate_shard(shard | {"kind": kind}, output_dir=join(directory, "out"), **arguments)
    found = {
        "peak": peak_bytes(),
        "cpu_seconds": time.process_time() - start,
        "output_bytes": sum(path.stat().st_size for path in (Path(directory) / "out").rglob("*.parquet")),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "run")
