"""The Parquet contract: every reader loads it as it stands, and it describes itself."""

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ecellm import schema
from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import TEXT_FIELDS, SampleNumberer, sample_row, samples_table
from ecellm.storage import Storage, join

TABLES = [value for value in vars(schema).values() if isinstance(value, pa.Schema)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Samples of two tasks and two splits in Hive directories."""
    root = tmp_path_factory.mktemp("samples")
    for task in ("Product_Matching", "Sentiment_Analysis"):
        for split in ("train", "test"):
            partition = Partition("IND_Diverse_Instruction", split, task)
            numberer = SampleNumberer(partition)
            texts = [dict.fromkeys(TEXT_FIELDS, f"text {n}") for n in range(3)]
            rows = [sample_row(numberer, each, partition) for each in texts]
            Storage().write_table(join(partition.directory(str(root)), part_name(0)), samples_table(rows))
    return f"{root}/data"


@pytest.mark.usefixtures("local_ray")
def test_every_reader_loads_the_directories_as_they_stand(data):
    import ray.data

    query = f"SELECT * FROM read_parquet('{data}/**/*.parquet', hive_partitioning=true)"
    tables = {
        "pandas": pd.read_parquet(data),
        "pyarrow": pq.read_table(data).to_pandas(),
        "dataset": ds.dataset(data).to_table().to_pandas(),
        "duckdb": duckdb.sql(query).df(),
        "ray": ray.data.read_parquet(data).to_pandas(),
    }
    for reader, table in tables.items():
        assert len(table) == 12, reader
        counts = table.groupby(["task", "split"], observed=True).size()
        assert sorted(counts) == [3, 3, 3, 3], reader
        assert set(table["setting"]) == {"IND_Diverse_Instruction"}, reader
        assert table["sample_id"].nunique() == 12, reader


def test_files_describe_themselves(data):
    file = next(iter(ds.dataset(data).files))
    stored = pq.read_schema(file)
    assert stored.metadata[b"ecellm_contract"] == schema.CONTRACT_VERSION.encode()
    assert stored.field("row_index").metadata[b"description"].startswith(b"place within")
    assert len(TABLES) == 17
    for table in TABLES:
        for field in table:
            assert len(field.metadata[b"description"]) > 5, (table.metadata, field.name)
