"""Answers of the classical floors to the samples that runs were asked, learned from the samples' own training rows.

    floors/data/setting=/task=/part-00000.parquet    one row per floor and sample, in the samples' order

A step of evaluate of its own: each task is learned once and then answered in all settings. Samples without training
rows (`IND_Diverse_Instruction`, train) have none of the floors that learn.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.baselines.floors import Answerer, floors_of
from ecellm.config import StorageConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import RunFiles, SampleFiles, num_rows
from ecellm.evaluation.floors import blocks_of
from ecellm.evaluation.joined import Joined, join_asked
from ecellm.evaluation.row_reader import RowReader
from ecellm.schema import FLOOR_ANSWERS, SAMPLES
from ecellm.settings import PAPER_TRAINING_SETTING
from ecellm.storage import Storage, join
from ecellm.tasks import Task, find_task

# Rows that floors learn from: as many as a task of the release has, and room for a larger build of one's own. More
# would take memory, and seconds, that floors should not.
MOST_TRAINING_ROWS = 20_000
_KEYS = ("sample_id", "task", "split", "setting")
_READ_COLUMNS = (*_KEYS, "input", "options", "output", "relevance")


def plan_classical_floors(of_floors: RunFiles, samples: SampleFiles) -> list[dict[str, Any]]:
    """Return a shard for each task that has classical floors.

    Args:
        of_floors: the runs' files of each (setting, task).
        samples: the samples' files by (setting, task) and split.
    """
    shards: dict[str, dict[str, Any]] = {}
    for (setting, name), files in of_floors.items():
        task = find_task(name)
        if task is None or not floors_of(task):
            continue
        train = samples.get((PAPER_TRAINING_SETTING, name), {}).get("train", [])
        shard = shards.setdefault(name, {"task": name, "train": train, "places": []})
        place = {"setting": setting, "predictions": files, "samples": samples.get((setting, name), {})}
        shard["places"].append(place)
    return list(shards.values())


def answer_classical_floors(
    shard: Mapping[str, Any], *, output_dir: str, storage_config: Mapping[str, Any]
) -> dict[str, Any]:
    """Learn one task and answer all its places that are not there yet.

    Args:
        shard: `task`, `train` (files) and `places`, each with `setting`, `predictions` and `samples` (files by split).
        output_dir: evaluate's output.
        storage_config: how to reach all of these.

    Returns:
        `rows` written.
    """
    storage = Storage(StorageConfig(**storage_config))
    task = find_task(shard["task"])
    assert task is not None, "only tasks of this suite have floors"
    left = [place for place in shard["places"] if not storage.exists(_path(output_dir, place["setting"], task.name))]
    answerers = _trained(storage, task, shard["train"]) if left else {}
    num_rows = 0
    for place in left:
        joined = join_asked(storage, place["predictions"], place["samples"])
        with storage.table_writer(_path(output_dir, place["setting"], task.name), FLOOR_ANSWERS) as writer:
            for part in [] if joined is None else joined.by_split():
                for table in _answers(part, answerers):
                    writer.write_table(table)
                    num_rows += table.num_rows
    return {"rows": num_rows}


def read_classical_floors(storage: Storage, output_dir: str, place: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what each floor answered to the samples of a (setting, task, split) that were asked, in their order."""
    path = _path(output_dir, place["setting"], place["task"])
    if not storage.exists(path):
        return {}
    table = storage.read_table(path, columns=["floor", "split", "response"])
    table = table.filter(pc.equal(table["split"], place["split"]))
    return {
        name: table.filter(pc.equal(table["floor"], name))["response"].to_pylist()
        for name in sorted(pc.unique(table["floor"]).to_pylist())
    }


def _path(output_dir: str, setting: str, task: str) -> str:
    return join(output_dir, "floors", "data", f"setting={setting}", f"task={task}", part_name(0))


def _trained(storage: Storage, task: Task, files: Sequence[str]) -> dict[str, Answerer]:
    rows = _training_rows(storage, files) if files else []
    trained = {floor.name: floor.train(task, rows) for floor in floors_of(task)}
    return {name: answerer for name, answerer in trained.items() if answerer is not None}


def _training_rows(storage: Storage, files: Sequence[str]) -> list[dict[str, Any]]:
    """Return the training rows; of more than floors learn from, evenly many from the first to the last."""
    step = max(1, -(-sum(num_rows(storage, path) for path in files) // MOST_TRAINING_ROWS))
    rows: list[dict[str, Any]] = []
    place = 0
    for table in RowReader(storage, files, SAMPLES, ("input", "options", "output")).tables():
        rows += table.take(pa.array(range(-place % step, table.num_rows, step), pa.int64())).to_pylist()
        place += table.num_rows
    return rows


def _answers(part: Joined, answerers: Mapping[str, Answerer]) -> Iterator[pa.Table]:
    """Yield the answers of all floors to a split, block by block; a floor's own come in the samples' order."""
    for block in blocks_of(part.samples(_READ_COLUMNS)):
        for name, answer in answerers.items():
            rows = [
                {
                    **{key: row[key] for key in _KEYS},
                    "floor": name,
                    "response": text,
                }
                for row, text in zip(block, answer(block), strict=True)
            ]
            yield pa.Table.from_pylist(rows, schema=FLOOR_ANSWERS)
