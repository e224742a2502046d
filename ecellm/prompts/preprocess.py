"""The preprocess stage: training rows (token ids) from samples.

    python -m jobs.preprocess samples_dir=samples base_model=MODEL output_dir=rows

Samples are tokenized once, in parallel; positions without gaps need the number of rows kept before each part, so parts
are staged first and numbered when all are there:

    samples --one task a piece--> staging/split=/part-*.parquet --numbered--> data/split=/part-*.parquet
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
import ray

from ecellm.config import PreprocessConfig, StorageConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import list_partitions, part_name
from ecellm.errors import InputError
from ecellm.models import fingerprint_with_model, locate
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.selection import selection_hash, thresholds
from ecellm.prompts.tokenization import PromptTokenizer, tokenize_for_training
from ecellm.prompts.tokenizer import load_prompt_tokenizer, tokenizer_fingerprint
from ecellm.schema import DROPPED, TRAINING_INDEX, TRAINING_ROWS
from ecellm.shards import run_shards
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join

INDEX_NAME = "_index.parquet"
# Small row groups: training shuffles by row group and reads one at a time.
ROW_GROUP_ROWS = 512
_SPLITS = ("train", "val")
_COLUMNS = ("sample_id", "task", "setting", "instruction", "input", "options", "few_shot_example", "output")
_COUNTS = ("num_tokens", "num_shortened", "num_inexact", "num_shorter_than_asked")


def _inputs(config: PreprocessConfig) -> dict[str, str]:
    return {"samples_dir": absolute(config.samples_dir), "base_model": locate(config.base_model)}


def _check(config: PreprocessConfig, storage: Storage) -> tuple[str, ...]:
    """List the samples, and load the tokenizer where the work will be done: on a node, not in the driver."""
    list_partitions(
        storage, absolute(config.samples_dir), settings=config.settings, splits=("train",), tasks=config.tasks
    )
    ray.get(ray.remote(_describe_tokenizer).remote(config))
    ray.get(ray.remote(_plan).remote(config.model_dump_json()))
    return ()


def _describe_tokenizer(config: PreprocessConfig) -> dict[str, Any]:
    tokenizer = _load(config.model_dump_json())
    tokenizer.prompt(PromptParts("instruction", "input"))  # a chat template may be missing
    return {
        "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer.tokenizer),
        "vocab_size": len(tokenizer.tokenizer),
        "is_encoder_decoder": tokenizer.is_encoder_decoder,
    }


@lru_cache(maxsize=1)
def _load(config_json: str) -> PromptTokenizer:
    """Load the tokenizer once per worker process."""
    config = PreprocessConfig.model_validate_json(config_json)
    storage = Storage(config.storage)
    return load_prompt_tokenizer(
        locate(config.base_model),
        config.base_model_revision,
        storage,
        prompt_format=config.prompt_format,
        max_length=config.max_length,
        max_answer_tokens=config.max_answer_tokens,
        trust_remote_code=config.trust_remote_code,
    )


def _run(run: Run[PreprocessConfig]) -> Outcome:
    config_json = run.config.model_dump_json()
    description = ray.get(ray.remote(_describe_tokenizer).remote(run.config))
    shards = ray.get(ray.remote(_plan).remote(config_json))
    arguments = {"config_json": config_json, "output_dir": run.output_dir}
    results = list(run_shards(shards, tokenize_part, name="preprocess", function_args=arguments))
    numbered = _number(results)
    list(run_shards(numbered, number_part, name="preprocess: numbering", function_args=arguments))
    for split in _SPLITS:
        ray.get(ray.remote(write_index).remote(run.output_dir, split, run.config.storage.model_dump()))
    run.storage.remove(join(run.output_dir, "staging"))
    return _outcome(results, description)


def _outcome(results: list[dict[str, Any]], description: dict[str, Any]) -> Outcome:
    rows: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for result in results:
        rows[result["split"]] += result["rows"]
        dropped.update(result["dropped"])
        totals.update({key: result[key] for key in _COUNTS})
    longest = max((result["max_tokens"] for result in results), default=0)
    if not rows["train"]:
        raise InputError(f"no training row is left; dropped: {dict(dropped)}. Raise max_length")
    num_rows = sum(rows.values())
    reasons = f" {dict(dropped)}" if dropped else ""
    average = totals["num_tokens"] / max(num_rows, 1)
    summary = [
        f"{rows['train']:,} training and {rows['val']:,} validation rows",
        f"{totals['num_tokens']:,} tokens, {average:.0f} on average, {longest:,} at most",
        f"{totals['num_shortened']:,} inputs shortened, {sum(dropped.values()):,} rows dropped{reasons}",
    ]
    if totals["num_shorter_than_asked"]:
        summary.append(
            f"{totals['num_shorter_than_asked']:,} prompts were cut more than predict will cut them, for answers of "
            "more than max_answer_tokens: raise it in both"
        )
    if totals["num_inexact"]:
        summary.append(f"{totals['num_inexact']:,} answers are not kept byte for byte by this tokenizer")
    details = {**description, **totals, "rows_by_split": dict(rows), "max_tokens": longest}
    return Outcome(rows=num_rows, dropped=dict(dropped), details=details, summary=tuple(summary))


def _plan(config_json: str) -> list[dict[str, Any]]:
    """Return the shards: split, part number, pieces of the samples, and which of their rows are kept."""
    config = PreprocessConfig.model_validate_json(config_json)
    storage = Storage(config.storage)
    shards: list[dict[str, Any]] = []
    for split, number in (("train", config.num_samples), ("val", config.num_val_samples)):
        try:
            partitions = list_partitions(
                storage, absolute(config.samples_dir), settings=config.settings, splits=(split,), tasks=config.tasks
            )
        except InputError:
            if split == "train":
                raise
            continue  # no validation samples: training then goes without a validation loss
        files = [file for files in partitions.values() for file in files]
        ids = _ids_by_task(storage, files) if number is not None else {p.task: [] for p in partitions}
        mixture = config.mixture if split == "train" else None
        keep = thresholds(ids, number, mixture, config.seed)
        pieces = segments.cut(storage, files, config.rows_per_shard, columns=_COLUMNS)
        shards += [{"split": split, "part": part, "piece": piece, "keep": keep} for part, piece in enumerate(pieces)]
    return shards


def _ids_by_task(storage: Storage, files: list[str]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for file in files:
        table = storage.read_table(file, columns=["task", "sample_id"])
        for row in table.to_pylist():
            ids[row["task"]].append(row["sample_id"])
    return ids


def tokenize_part(shard: Mapping[str, Any], *, config_json: str, output_dir: str) -> dict[str, Any]:
    """Tokenize one piece of the samples into `staging/split=/part-k.parquet`, positions still unset.

    A part that was finished before has its result beside it, and is left as it is.

    Returns:
        split, part, rows, max_tokens, the counts of `_COUNTS`, dropped (by reason).
    """
    config = PreprocessConfig.model_validate_json(config_json)
    storage = Storage(config.storage)
    marker = join(output_dir, "staging", f"split={shard['split']}", f"{part_name(shard['part'])}.json")
    if storage.exists(marker):
        return dict(storage.read_json(marker))
    tokenizer = _load(config_json)
    rows: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    num_inexact = num_shorter = 0
    for sample in segments.read(storage, shard["piece"], _COLUMNS):
        if selection_hash(config.seed, sample["sample_id"]) > shard["keep"][sample["task"]]:
            continue
        text = tokenize_for_training(tokenizer, PromptParts.of(sample), sample["output"])
        keys = {name: sample[name] for name in ("sample_id", "task", "setting")}
        if isinstance(text, str):
            dropped.append({**keys, "split": shard["split"], "reason": text})
            continue
        num_inexact += not text.is_exact
        num_shorter += text.is_shorter_than_asked
        rows.append(
            {
                **keys,
                "split": shard["split"],
                "position": -1,
                "input_ids": text.input_ids,
                "labels": text.labels,
                "num_prompt_tokens": text.num_prompt_tokens,
                "was_shortened": text.was_shortened,
            }
        )
    _write_staged(storage, output_dir, shard, rows, dropped)
    counts = {"num_inexact": num_inexact, "num_shorter_than_asked": num_shorter}
    result = _describe_part(shard, rows, dropped) | counts
    storage.write_json(marker, result)
    return result


def _write_staged(
    storage: Storage,
    output_dir: str,
    shard: Mapping[str, Any],
    rows: list[dict[str, Any]],
    dropped: list[dict[str, Any]],
) -> None:
    name = part_name(shard["part"])
    if dropped:
        table = pa.Table.from_pylist(dropped, schema=DROPPED)
        storage.write_table(join(output_dir, "dropped", f"split={shard['split']}", name), table)
    path = join(output_dir, "staging", f"split={shard['split']}", name)
    storage.write_table(path, pa.Table.from_pylist(rows, schema=TRAINING_ROWS))


def _describe_part(
    shard: Mapping[str, Any], rows: list[dict[str, Any]], dropped: list[dict[str, Any]]
) -> dict[str, Any]:
    lengths = [len(row["input_ids"]) + len(row["labels"] or ()) for row in rows]
    return {
        "split": shard["split"],
        "part": shard["part"],
        "rows": len(rows),
        "num_tokens": sum(lengths),
        "max_tokens": max(lengths, default=0),
        "num_shortened": sum(row["was_shortened"] for row in rows),
        "dropped": dict(Counter(row["reason"] for row in dropped)),
    }


def _number(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts that hold rows, each with the position of its first row."""
    numbered = []
    for split in _SPLITS:
        position = 0
        for result in sorted((r for r in results if r["split"] == split), key=lambda r: int(r["part"])):
            if result["rows"]:
                numbered.append({"split": split, "part": result["part"], "first_position": position})
            position += result["rows"]
    return numbered


def number_part(shard: Mapping[str, Any], *, config_json: str, output_dir: str) -> dict[str, Any]:
    """Publish a staged part with its positions; returns `rows`."""
    storage = Storage(PreprocessConfig.model_validate_json(config_json).storage)
    name = part_name(shard["part"])
    table = storage.read_table(join(output_dir, "staging", f"split={shard['split']}", name))
    first = shard["first_position"]
    positions = pa.array(range(first, first + table.num_rows), type=pa.int64())
    table = table.set_column(0, TRAINING_ROWS.field("position"), positions)
    path = join(output_dir, "data", f"split={shard['split']}", name)
    storage.write_table(path, table.cast(TRAINING_ROWS), row_group_size=ROW_GROUP_ROWS)
    return {"rows": table.num_rows}


def write_index(output_dir: str, split: str, storage_config: Mapping[str, Any]) -> None:
    """Write `_index.parquet` beside a split's parts: where each row group begins."""
    storage = Storage(StorageConfig(**storage_config))
    directory = join(output_dir, "data", f"split={split}")
    rows: list[dict[str, Any]] = []
    position = 0
    for file in storage.list_files(directory, ".parquet"):
        if file.endswith(INDEX_NAME):
            continue
        with storage.parquet_file(file) as parquet:
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=["input_ids", "labels"])
                num_tokens = sum(len(table[c].combine_chunks().flatten()) for c in ("input_ids", "labels"))
                rows.append(
                    {
                        "file": file.rsplit("/", 1)[-1],
                        "row_group": group,
                        "first_position": position,
                        "num_rows": table.num_rows,
                        "num_tokens": num_tokens,
                    }
                )
                position += table.num_rows
    if rows:
        storage.write_table(join(directory, INDEX_NAME), pa.Table.from_pylist(rows, schema=TRAINING_INDEX))


STAGE = Stage(
    job="preprocess",
    version=2,
    config_class=PreprocessConfig,
    inputs=_inputs,
    check=_check,
    run=_run,
    fingerprint_input=fingerprint_with_model("base_model"),
)
