"""The ingest stage: samples from the ECInstruct release, or from users' own instruction data.

    python -m jobs.ingest release=dataset.json qpr_labels=qpr_labels.json output_dir=samples

Two halves, so that an array of any size is read in constant memory and written in parallel:

    release --one streaming task--> staging/part-*.parquet --one task a partition--> data/.../part-*.parquet
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import ray

from ecellm.config import IngestConfig, StorageConfig
from ecellm.dataset.counts import count_lines
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.qpr_labels import check_labels, read_qpr_labels
from ecellm.dataset.sample import SAMPLES_ROW_GROUP_ROWS, SampleNumberer, sample_row, samples_table
from ecellm.dataset.split_release import split_release
from ecellm.errors import InputError, find_cause
from ecellm.schema import SAMPLES
from ecellm.settings import SETTINGS
from ecellm.shards import run_shards
from ecellm.sources.release import check_ends
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join
from ecellm.tasks import task_named

QPR = "Query_Product_Ranking"
INSTRUCTIONS_NAME = "instructions.json"


def _inputs(config: IngestConfig) -> dict[str, str]:
    inputs = {"release": absolute(config.release)}
    if config.qpr_labels:
        inputs["qpr_labels"] = absolute(config.qpr_labels)
    return inputs


def _check(config: IngestConfig, storage: Storage) -> tuple[str, ...]:
    for path in _inputs(config).values():
        if storage.is_dir(path):
            raise InputError(f"{path} is a directory: name the file itself")
    if config.qpr_labels:
        read_qpr_labels(storage, absolute(config.qpr_labels))
    ray.get(ray.remote(check_ends).remote(storage, absolute(config.release)))
    return ()


def _run(run: Run[IngestConfig]) -> Outcome:
    config = run.config
    storage_config = config.storage.model_dump()
    split = ray.get(
        ray.remote(split_release).remote(
            absolute(config.release), run.output_dir, storage_config, config.defaults.model_dump(), config.on_bad_row
        )
    )
    try:
        counts = _write_partitions(run, split)
    except Exception as error:
        if find_cause(error, InputError) and not run.storage.exists(join(run.output_dir, "data")):
            # Of an input that must be mended nothing can be gone on from.
            run.storage.remove(join(run.output_dir, INSTRUCTIONS_NAME))
            run.storage.remove(join(run.output_dir, "staging"))
        raise
    run.storage.remove(join(run.output_dir, "staging"))
    num_bad = split["num_bad_rows"]
    return Outcome(
        rows=sum(counts.values()),
        dropped={"bad_row": num_bad} if num_bad else {},
        details={"counts": [[*_key(p), n] for p, n in sorted(counts.items())]},
        summary=tuple(count_lines(counts)),
    )


def _write_partitions(run: Run[IngestConfig], split: Mapping[str, Any]) -> dict[Partition, int]:
    """Second half: one task a partition; return the rows of each."""
    config = run.config
    catalogue = _catalogue(split["instructions"])
    run.storage.write_json(join(run.output_dir, INSTRUCTIONS_NAME), catalogue)
    labels = read_qpr_labels(run.storage, absolute(config.qpr_labels)) if config.qpr_labels else None
    counts: dict[Partition, int] = {}
    for result in run_shards(
        _partition_shards(split["chunks"]),
        write_partition,
        name="ingest",
        function_args={
            "output_dir": run.output_dir,
            "storage_config": config.storage.model_dump(),
            "catalogue": catalogue,
            "labels": labels,
            "max_rows": config.max_rows_per_file,
        },
    ):
        counts[Partition(*result["partition"])] = result["rows"]
    return counts


def _key(partition: Partition) -> tuple[str, str, str]:
    return partition.setting, partition.split, partition.task


def _partition_shards(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one shard a partition: its row groups in input order."""
    groups: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    num_rows: dict[tuple[str, ...], int] = defaultdict(int)
    for chunk in chunks:
        for group in chunk["groups"]:
            key = tuple(group["partition"])
            groups[key].append((chunk["file"], group["row_group"]))
            num_rows[key] += group["num_rows"]
    return [{"partition": key, "groups": groups[key], "num_rows": num_rows[key]} for key in sorted(groups)]


def write_partition(
    shard: Mapping[str, Any],
    *,
    output_dir: str,
    storage_config: Mapping[str, Any],
    catalogue: Mapping[str, Any],
    labels: list[list[str]] | None,
    max_rows: int,
) -> dict[str, Any]:
    """Write the parts of one partition; parts that are there already stay as they are.

    Args:
        shard: `partition`, `groups` ([file, row group] in input order), `num_rows`.
        output_dir: the samples directory.
        storage_config: how to reach it.
        catalogue: instructions by task, as in `instructions.json`.
        labels: QPR's ESCI labels of the IND test rows, in row order; None if not known.
        max_rows: rows of a part.

    Returns:
        `partition` and `rows`.
    """
    storage = Storage(StorageConfig(**storage_config))
    partition = Partition(*shard["partition"])
    use_labels = labels is not None and _has_labels(partition)
    if use_labels and labels is not None and len(labels) != shard["num_rows"]:
        raise InputError(
            f"qpr_labels has {len(labels)} lists, but {partition.setting} has {shard['num_rows']} test rows of {QPR}"
        )
    rows = _sample_rows(storage, shard, partition, catalogue, labels if use_labels else None)
    for part in range(-(-shard["num_rows"] // max_rows)):
        _publish(storage, join(partition.directory(output_dir), part_name(part)), islice(rows, max_rows))
    return {"partition": shard["partition"], "rows": shard["num_rows"]}


def _has_labels(partition: Partition) -> bool:
    return partition.task == QPR and partition.split == "test" and SETTINGS[partition.setting].domain == "IND"


def _sample_rows(
    storage: Storage,
    shard: Mapping[str, Any],
    partition: Partition,
    catalogue: Mapping[str, Any],
    labels: list[list[str]] | None,
) -> Iterator[dict[str, Any]]:
    numberer = SampleNumberer(partition)
    indices = _instruction_indices(catalogue, partition)
    row_index = 0
    for file, row_group in shard["groups"]:
        with storage.parquet_file(file) as parquet:
            for batch in parquet.iter_batches(batch_size=SAMPLES_ROW_GROUP_ROWS, row_groups=[row_group]):
                for texts in batch.to_pylist():
                    relevance = None
                    if labels is not None:
                        relevance = check_labels(labels[row_index], texts["input"], row_index)
                    index = indices.get(texts["instruction"])
                    yield sample_row(numberer, texts, partition, instruction_index=index, relevance=relevance)
                    row_index += 1


def _publish(storage: Storage, path: str, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows as one file, a row group at a time; a file that is there stays, but its rows are still numbered."""
    if storage.exists(path):
        deque(rows, maxlen=0)
        return
    with storage.table_writer(path, SAMPLES) as writer:
        while group := list(islice(rows, SAMPLES_ROW_GROUP_ROWS)):
            writer.write_table(samples_table(group))


def _catalogue(found: list[list[Any]]) -> dict[str, Any]:
    """Arrange the instructions found as a catalogue: seed (from Single), diverse, unseen, by short task name.

    A task whose instructions do not look like a catalogue (no seed, or several) is left out.
    """
    by_task: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for task, kind, texts in found:
        by_task[task][kind] = texts
    tasks = {}
    for task, kinds in sorted(by_task.items()):
        seeds, unseen = kinds.get("single", []), kinds.get("unseen", [])
        if len(seeds) != 1 or len(unseen) > 1:
            continue
        rewrites = sorted(set(kinds.get("diverse", [])) - set(seeds))
        entry: dict[str, Any] = {"seed": seeds[0], "diverse": [seeds[0], *rewrites]}
        if unseen:
            entry["unseen"] = unseen[0]
        tasks[_catalogue_name(task)] = entry
    return {"source": "found in the ingested data", "tasks": tasks}


def _catalogue_name(task: str) -> str:
    try:
        return task_named(task).short_name
    except InputError:
        return task  # a task of the user's own


def _instruction_indices(catalogue: Mapping[str, Any], partition: Partition) -> dict[str, int]:
    """Map instruction texts to their index: the diverse list from 0, the unseen one after it."""
    entry = catalogue["tasks"].get(_catalogue_name(partition.task))
    if entry is None:
        return {}
    texts = [*entry["diverse"], *([entry["unseen"]] if "unseen" in entry else [])]
    return {text: index for index, text in enumerate(texts)}


STAGE = Stage(job="ingest", version=2, config_class=IngestConfig, inputs=_inputs, check=_check, run=_run)
