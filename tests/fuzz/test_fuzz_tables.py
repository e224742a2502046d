"""Parquet that others made, given to evaluate, predict, preprocess, finetune and the journal: read, or told in a line."""

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.config import EvaluateConfig, OwnDataDefaults, StorageConfig
from ecellm.dataset import segments
from ecellm.dataset.builders import shopping
from ecellm.dataset.builders.flow import Context
from ecellm.dataset.split_release import split_release
from ecellm.evaluation.report.runs import training_log
from ecellm.inference.asking import ASKED_COLUMNS, SAMPLE_KEYS
from ecellm.inference.journal import Journal
from ecellm.loss_curve import loss_curve
from ecellm.prompts import preprocess
from ecellm.schema import PREDICTIONS, SAMPLES, TRAINING_INDEX, TRAINING_ROWS
from ecellm.sources import shopping_queries
from ecellm.storage import Storage
from ecellm.training.rows import RowReader
from tests.evaluation.made_up_runs import evaluate_here, make_samples, write_training_log
from tests.fuzz.foreign_tables import foreign_tables
from tests.fuzz.outcomes import fuzzed, read_or_be_told, scratch_directory
from tests.fuzz.readers import quarantined, raw_world, release_rows

STORAGE = Storage()
PLACE = "setting=IND_Diverse_Instruction"
TASKS = ("Product_Matching", "Query_Product_Ranking", "Attribute_Value_Extraction")


def write(path, table):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return str(path)


@cache
def sample_tables():
    """Return samples of three tasks by task."""
    with scratch_directory() as scratch:
        rows = make_samples(scratch, num_test=4, settings=("IND_Diverse_Instruction",))
    return {task: pa.Table.from_pylist([row for row in rows if row["task"] == task], SAMPLES) for task in TASKS}


@cache
def prediction_tables():
    """Return a run's answers to them, by task."""
    tables = {}
    for task, samples in sample_tables().items():
        rows = [
            dict.fromkeys(PREDICTIONS.names)
            | {name: row[name] for name in PREDICTIONS.names if name in row}
            | {"run_id": "run", "model": "m", "engine": "fake", "decoding": "greedy", "response": row["output"]}
            | {"finish_reason": "stop", "num_prompt_tokens": 9, "num_completion_tokens": 3, "was_shortened": False}
            | {"prompt_sha256": "0"}
            for row in samples.to_pylist()
        ]
        tables[task] = pa.Table.from_pylist(rows, PREDICTIONS)
    return tables


def evaluate_tables(scratch, monkeypatch, samples, predictions, task, log=None):
    """Evaluate a task's answers as the job does, report included."""
    write(scratch / f"samples/data/{PLACE}/split=test/task={task}/part-00000.parquet", samples)
    write(scratch / f"run/data/{PLACE}/task={task}/part-00000.parquet", predictions)
    config = {"predictions_dir": str(scratch / "run"), "samples_dir": str(scratch / "samples"), "num_resamples": 5}
    if log is not None:
        write(scratch / "tuned/training_log/data/part-00000.parquet", log)
        config["training_dirs"] = [str(scratch / "tuned")]
    outcome = evaluate_here(EvaluateConfig(output_dir=str(scratch / "out"), **config), monkeypatch)
    for file in STORAGE.list_files(str(scratch / "out"), ".parquet"):
        assert pq.ParquetFile(file).schema_arrow.metadata[b"ecellm_contract"]
    return outcome.rows


@fuzzed(0.4)
@given(data=st.data())
def test_predictions_given_to_evaluate(data):
    task = data.draw(st.sampled_from(TASKS))
    table = data.draw(foreign_tables([prediction_tables()[task]]))
    with scratch_directory() as scratch, pytest.MonkeyPatch.context() as patch:
        read_or_be_told(lambda: evaluate_tables(scratch, patch, sample_tables()[task], table, task), scratch, "samples")


@fuzzed(0.4)
@given(data=st.data())
def test_samples_given_to_evaluate(data):
    task = data.draw(st.sampled_from(TASKS))
    table = data.draw(foreign_tables([sample_tables()[task]]))
    with scratch_directory() as scratch, pytest.MonkeyPatch.context() as patch:
        run = prediction_tables()[task]
        read_or_be_told(lambda: evaluate_tables(scratch, patch, table, run, task), scratch, "samples")


@fuzzed()
@given(data=st.data())
def test_samples_given_to_predict_and_preprocess(data):
    table = data.draw(foreign_tables(list(sample_tables().values())))
    with scratch_directory() as scratch:
        path = write(scratch / "samples.parquet", table)
        for columns, never_null in ((ASKED_COLUMNS, SAMPLE_KEYS), (preprocess._COLUMNS, preprocess._COLUMNS[:4])):

            def read(columns=columns, never_null=never_null):
                pieces = segments.cut(STORAGE, [path], 3, columns=columns)
                return [row for piece in pieces for row in segments.read(STORAGE, piece, columns, never_null)]

            rows = read_or_be_told(read, path) or []
            assert pa.Table.from_pylist(rows).num_rows == (table.num_rows if rows else 0)


@cache
def own_data():
    return pa.Table.from_pylist(release_rows()[:6])


@fuzzed()
@given(data=st.data())
def test_own_data_given_to_ingest(data):
    table = data.draw(foreign_tables([own_data()]))
    with scratch_directory() as scratch:
        path = write(scratch / "own.parquet", table)
        arguments = (StorageConfig().model_dump(), OwnDataDefaults().model_dump(), "quarantine")
        result = read_or_be_told(lambda: split_release(path, str(scratch / "out"), *arguments), path)
        if result:
            assert quarantined(scratch / "out") == result["num_bad_rows"]


def shop(scratch):
    """Do all that build does with the two files of Shopping Queries, up to ranked examples."""
    shopping._look(STORAGE, str(scratch), ())
    context = Context(StorageConfig().model_dump(), str(scratch), str(scratch / "out"), 1)
    for step in shopping._stage_steps(
        STORAGE, {kind: file(str(scratch)) for kind, file in SHOPPING.items()}, 1 << 20, 2
    ):
        step.function(context, **step.arguments)
    tasks = [shopping.MPC.name, shopping.PSI.name, shopping.QPR.name]
    rows = sum(shopping.join_judgements(context, tasks=tasks, bucket=k, number=2)["rows"] for k in range(2))
    for bucket in range(2):
        shopping.rank_products(context, bucket=bucket, number=2)
    return rows


SHOPPING = {"judgements": shopping_queries.examples_file, "products": shopping_queries.products_file}


@fuzzed()
@given(data=st.data())
def test_shopping_queries_given_to_build(data):
    changed = data.draw(st.sampled_from([*SHOPPING]))
    with scratch_directory() as scratch:
        for kind, file in SHOPPING.items():
            table = pq.ParquetFile(file(str(raw_world()))).read()
            write(file(str(scratch)), data.draw(foreign_tables([table])) if kind == changed else table)
        read_or_be_told(lambda: shop(scratch), "shopping_queries_dataset_")


def training_rows(num_rows=8):
    rows = [
        {
            "position": k,
            "sample_id": f"s{k}",
            "task": "PM",
            "split": "train",
            "setting": "IND",
            "input_ids": [1, 5, 6, 2],
        }
        | {"labels": None, "num_prompt_tokens": 2, "was_shortened": False}
        for k in range(num_rows)
    ]
    return pa.Table.from_pylist(rows, TRAINING_ROWS)


def training_index(num_rows=8):
    row = {"file": "part-00000.parquet", "row_group": 0, "first_position": 0, "num_rows": num_rows, "num_tokens": 32}
    return pa.Table.from_pylist([row], TRAINING_INDEX)


def read_training_rows(directory, rows, index):
    """Read rows as finetune does, all and in an epoch's order."""
    write(directory / "data/split=train/part-00000.parquet", rows)
    write(directory / "data/split=train/_index.parquet", index)
    reader = RowReader(STORAGE, str(directory), "train")
    batches = list(reader.epoch(seed=1, epoch=0, global_batch_size=3))
    assert sum(map(len, batches)) == reader.num_rows
    return [row.num_tokens for batch in batches for row in batch]


@fuzzed()
@given(data=st.data())
def test_training_rows_given_to_finetune(data):
    rows, index = training_rows(), training_index()
    if data.draw(st.booleans()):
        rows = data.draw(foreign_tables([rows]))
    else:
        index = data.draw(foreign_tables([index]))
    with scratch_directory() as scratch:
        read_or_be_told(lambda: read_training_rows(scratch, rows, index), scratch)


@fuzzed()
@given(data=st.data())
def test_a_training_log_given_to_the_report(data):
    with scratch_directory() as scratch:
        write_training_log(scratch / "made")
        log = pq.ParquetFile(scratch / "made/training_log/data/part-00000.parquet").read()
        write(scratch / "tuned/training_log/data/part-00000.parquet", data.draw(foreign_tables([log])))
        read_or_be_told(lambda: loss_curve("tuned", training_log(STORAGE, str(scratch / "tuned"))), scratch)


@fuzzed()
@given(data=st.data())
def test_a_journal_that_something_else_wrote(data):
    table = data.draw(foreign_tables([prediction_tables()["Product_Matching"]]))
    with scratch_directory() as scratch:
        write(scratch / "in_progress/part-00000/00000.parquet", table)
        records = read_or_be_told(lambda: Journal(STORAGE, str(scratch), "part-00000.parquet", 1.0).records, scratch)
        assert pa.Table.from_pylist(records or [], PREDICTIONS).num_rows == len(records or [])
