"""Names that come with data never lead out of the directory that a job was given."""

import json

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from ecellm.config import IngestConfig, OwnDataDefaults
from ecellm.dataset.ingest import STAGE
from ecellm.dataset.partitions import Partition, hive_keys
from ecellm.dataset.raw_row import read_raw_row
from ecellm.errors import InputError
from ecellm.sources.fetch_addresses import Name
from ecellm.stage import execute
from ecellm.storage import Storage
from ecellm.training.rows import read_index
from tests.training.conftest import example_rows, write_rows

HOSTILE = [
    "../../x",
    "..",
    "/tmp/x",
    "s3://bucket/x",
    "a/../../x",
    "a\0b",
    "%2e%2e%2fx",
    "a=b",
    "setting=x/task=y",
    "x\n",
    "\\..\\x",
    "~/x",
    "",
]
ROW = {"instruction": "i", "input": "x", "output": "o"}
PLACE = {"task": "Product_Matching", "split": "train", "setting": "IND_Diverse_Instruction"}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", PLACE)
def test_a_row_cannot_choose_its_directory(name, field):
    with pytest.raises(InputError):
        read_raw_row(ROW | PLACE | {field: name}, OwnDataDefaults())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_task_of_ones_own_is_a_plain_name(name):
    with pytest.raises(InputError):
        read_raw_row(ROW | PLACE | {"task": name}, OwnDataDefaults(task=name))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "a=b"])
def test_a_fetched_file_stays_below_raw_dir(name):
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.usefixtures("local_ray")
def test_rows_with_hostile_names_are_quarantined_and_write_nowhere_else(tmp_path):
    release, output = tmp_path / "own.jsonl", tmp_path / "a" / "b" / "out"
    rows = [ROW | PLACE, *(ROW | PLACE | {field: name} for name in HOSTILE for field in PLACE)]
    release.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    execute(STAGE, IngestConfig(release=str(release), output_dir=str(output), on_bad_row="quarantine"))
    assert {path.name for path in tmp_path.iterdir()} == {"own.jsonl", "a"}
    assert [path.name for path in (tmp_path / "a").rglob("*") if path.parent in {tmp_path / "a", output.parent}] == [
        "b",
        "out",
    ]
    assert [path.name for path in (output / "data").iterdir()] == [f"setting={PLACE['setting']}"]
    quarantined = pq.read_table(output / "quarantine")
    assert quarantined.num_rows == len(rows) - 1


def test_a_directory_s_value_is_taken_as_it_is_written():
    """Nothing is decoded, so that a value has no slash: it stays one directory below the output."""
    keys = hive_keys("s3://b/data/setting=../task=%2e%2e%2fx/split=a/part.parquet")
    assert keys == {"setting": "..", "task": "%2e%2e%2fx", "split": "a"}
    assert Partition("..", "a", "%2e%2e%2fx").directory("out") == "out/data/setting=../split=a/task=%2e%2e%2fx"


def test_a_model_in_a_store_writes_nothing_beside_its_cache(tmp_path):
    """The key of an object may be any text; here it is one that leads to the parent of the cache."""
    store = fsspec.filesystem("memory")
    for key in ("/models/m/config.json", "/models/m/../../escaped.txt"):
        store.store[key] = fsspec.implementations.memory.MemoryFile(store, key, b"{}")
    try:
        with pytest.raises(InputError, match="outside of"):
            Storage().download_dir("memory://models/m", tmp_path / "cache" / "m")
    finally:
        store.store.clear()
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize("name", ["../../../elsewhere.parquet", "/elsewhere.parquet"])
def test_an_index_of_training_rows_names_files_beside_it(tmp_path, name):
    rows = write_rows(tmp_path / "rows", {"train": example_rows(5)})
    path = rows / "data" / "split=train" / "_index.parquet"
    index = pq.read_table(path)
    names = pa.array(np.full(index.num_rows, name))
    pq.write_table(index.set_column(index.schema.get_field_index("file"), "file", names), path)
    with pytest.raises(InputError, match="no file beside it"):
        read_index(Storage(), str(rows), "train")
