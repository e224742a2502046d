"""Made-up runs over all ten tasks: samples of the made-up release, and answers of any skill, as Parquet."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecellm.config import EvaluateConfig
from ecellm.evaluation import evaluate
from ecellm.evaluation.similarity import step
from ecellm.schema import PREDICTIONS, SAMPLES, TRAINING_LOG
from ecellm.settings import SETTINGS
from ecellm.sources.synthetic import Sizes, write_qpr_labels, write_release
from ecellm.stage import Run
from ecellm.storage import Storage
from ecellm.tasks import find_task, task_named

Row = dict[str, Any]
Respond = Callable[[Row, np.random.Generator], str]
KEYS = ("sample_id", "example_id", "task", "split", "setting", "row_index")
CATEGORIES = ("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors", "Tools_and_Home_Improvement")


def make_samples(
    scratch: Path, *, num_test: int, padding_words: int = 0, settings: Sequence[str] = tuple(SETTINGS)
) -> list[Row]:
    """Return the test rows of a made-up release as rows of the samples table."""
    sizes = Sizes(train=30, val=5, test=num_test, padding_words=padding_words)
    write_release(scratch / "release.json", sizes=sizes, settings=settings)
    write_qpr_labels(scratch / "labels.json", sizes=sizes)
    labels = json.loads((scratch / "labels.json").read_text())
    rows, counts = [], {}
    for raw in json.loads((scratch / "release.json").read_text()):
        if raw["split"] == "test":
            task, setting = task_named(raw["task"]).name, raw["setting"]
            number = counts[task, setting] = counts.get((task, setting), -1) + 1
            relevance = labels[number] if task == "Query_Product_Ranking" else None
            rows.append(_sample(raw, task, number, relevance))
    return rows


def _sample(raw: Mapping[str, Any], task: str, number: int, relevance: list[str] | None) -> Row:
    setting = SETTINGS[raw["setting"]]
    return dict.fromkeys(SAMPLES.names) | {
        **{
            name: raw[name]
            for name in ("split", "setting", "instruction", "input", "options", "output", "few_shot_example")
        },
        "sample_id": f"{task}-{setting.name}-{number}",
        "example_id": f"{task}-{setting.domain}-{number}",
        "task": task,
        "row_index": number,
        "domain": setting.domain,
        "instruction_kind": setting.instruction_kind,
        "num_shots": setting.num_shots,
        "relevance": relevance,
        "category": CATEGORIES[number % len(CATEGORIES)]
        if task in {"Sentiment_Analysis", "Product_Relation_Prediction"}
        else None,
    }


def of_skill(skill: Mapping[str, float], default: float, chattiness: float = 0.03) -> Respond:
    """Return answers that are right with a task's probability, at times amid text or in no form at all."""

    def respond(row: Row, rng: np.random.Generator) -> str:
        if rng.random() < chattiness:
            return str(
                rng.choice(
                    [
                        "",
                        f"Sure! The answer is {row['output'][:40]}, I think.",
                        row["output"][:5] + "{",
                        "As a language model",
                    ]
                )
            )
        if rng.random() < skill.get(row["task"], default):
            return row["output"]
        return _wrong(row, rng)

    return respond


def _wrong(row: Row, rng: np.random.Generator) -> str:
    task = find_task(row["task"])
    choices = task.choices(row) if task else None
    if choices is not None:
        letters = [choice for choice in choices if not row["output"].startswith(choice)] or list(choices)
        return ",".join(rng.permutation(choices)) if task.ranks_choices else str(rng.choice(letters))
    if row["task"] == "Attribute_Value_Extraction":
        items = json.loads(row["output"])
        return json.dumps([item | {"value": "blue"} if rng.random() < 0.6 else item for item in items])
    words = row["output"].split()
    return " ".join(rng.permutation(words)[: max(1, len(words) // 2)])


def write_tables(directory: Path, rows: Iterable[Row], keys: tuple[str, ...], schema: pa.Schema) -> str:
    """Write rows below Hive directories, and return the directory."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    for values, group in groups.items():
        place = "/".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        Storage().write_table(
            f"{directory}/data/{place}/part-00000.parquet", pa.Table.from_pylist(group, schema=schema)
        )
    return str(directory)


def write_samples(directory: Path, samples: Sequence[Row]) -> str:
    """Write a samples directory."""
    return write_tables(directory, samples, ("setting", "split", "task"), SAMPLES)


def write_predictions(
    directory: Path, samples: Sequence[Row], respond: Respond, *, adapter: str | None = None, seed: int = 0
) -> str:
    """Write a predictions directory with the manifest of a predict job."""
    rng = np.random.default_rng(seed)
    rows = []
    for sample in samples:
        response = respond(sample, rng)
        fixed = {"engine": "fake", "decoding": "greedy", "prompt_sha256": "0", "choice_scores": None}
        counts = {
            "was_shortened": len(sample["input"]) > 3000,
            "finish_reason": "length" if len(response) > 300 else "stop",
            "num_prompt_tokens": len(sample["input"]) // 4 + 60,
            "num_completion_tokens": len(response) // 4 + 1,
        }
        run = {"run_id": f"run-{directory.name}", "model": "tiny", "adapter": adapter}
        rows.append({key: sample[key] for key in KEYS} | run | fixed | counts | {"response": response})
    tokens = {name: sum(row[name] for row in rows) for name in ("num_prompt_tokens", "num_completion_tokens")}
    seconds = len(rows) / 40
    details = tokens | {
        "actor_hours": seconds / 3600,
        "rows_per_actor_second": 40.0,
        "tokens_per_actor_second": sum(tokens.values()) / seconds,
        "rows_per_wall_second": 75.5,
        "cost": 0.0123,
        "currency": "USD",
    }
    write_tables(directory, rows, ("setting", "task"), PREDICTIONS)
    Storage().write_json(f"{directory}/_manifest.json", {"job": "predict", "details": details})
    return str(directory)


def write_training_log(directory: Path) -> str:
    """Write the training log of a finetune output."""
    rows = [{"step": step, "kind": "train", "loss": 4.0 / step, "learning_rate": 1e-4} for step in range(1, 41)]
    rows += [{"step": step, "kind": "val", "loss": 3.0 / step} for step in (10, 20, 40)]
    full = [{**dict.fromkeys(TRAINING_LOG.names), "epoch": 1.0, "seconds": 1.0, **row} for row in rows]
    Storage().write_table(
        f"{directory}/training_log/data/part-00000.parquet", pa.Table.from_pylist(full, schema=TRAINING_LOG)
    )
    return str(directory)


def one_after_the_other(shards, function, *, name, function_args, memory):
    """Stand in for Ray: the shards one after the other, through JSON as Ray would pass them."""
    for shard in shards:
        yield json.loads(json.dumps(function(json.loads(json.dumps(shard)), **function_args)))


def do_shards_here(monkeypatch: Any) -> None:
    """Let evaluate's shards be done by this process."""
    for module in (evaluate, step):
        monkeypatch.setattr(module, "run_shards", one_after_the_other)


def evaluate_here(config: EvaluateConfig, monkeypatch: Any) -> Any:
    """Carry out evaluate without Ray, and return its outcome."""
    do_shards_here(monkeypatch)
    evaluate.STAGE.check(config, Storage())
    inputs = dict.fromkeys(evaluate.STAGE.inputs(config), "f" * 64)
    return evaluate.STAGE.run(Run(config, Storage(), config.output_dir, "0" * 64, inputs))


def report_shard(config: EvaluateConfig) -> Row:
    """Return what evaluate hands to `write_report`, of an output that is there."""
    comparisons = pq.read_table(f"{config.output_dir}/comparisons/data/part-00000.parquet").to_pylist()
    return {
        "predictions_dirs": list(config.all_predictions),
        "samples_dir": config.samples_dir,
        "training_dirs": list(config.training_dirs),
        "similarity_models": {"bertscore_model": None, "bertscore_layer": None, "bleurt_model": None},
        "comparisons": comparisons,
        "columns": list(range(len(config.all_predictions))),
        "roles": [["ours"] for _ in config.all_predictions],
        "studies": [study.model_dump() for study in config.studies],
        "pairs": [],
    }
