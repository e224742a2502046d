"""Manifests, `_run.json`, records of fetch and prompts that others wrote: deep, of wrong types, cut off."""

import json
from functools import cache
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.config import FetchConfig
from ecellm.errors import OutputHeldError
from ecellm.evaluation.published_comparability import comparability, remarks
from ecellm.evaluation.report.about import describe_evaluation
from ecellm.evaluation.report.runs import RunInfo, describe_costs, run_rows
from ecellm.fingerprint import MANIFEST_NAME, RUN_NAME, fingerprint_input, fingerprint_of
from ecellm.manifest import RunDirectory, read_manifest, read_state, refuse_if_held, refuse_if_occupied
from ecellm.prompts.record import RECORD_NAME, read_record, write_record
from ecellm.schema import RUNS
from ecellm.sources import fetch
from ecellm.sources.fetch_addresses import read_addresses, select
from ecellm.sources.fetch_parts import record_path
from ecellm.stage import _has_errors_to_retry
from ecellm.storage import Storage
from ecellm.training.card import _preprocess_manifest
from tests.fuzz.mutations import changed_json, damaged_bytes
from tests.fuzz.outcomes import fuzzed, read_or_be_told, scratch_directory

STORAGE = Storage()
IDENTITY = {
    "job": "ingest",
    "stage_version": 2,
    "inputs": {"release": "f" * 64},
    "config": {"seed": 1, "sizes": {"train": 3}},
}
RUN = IDENTITY | {
    "fingerprint": fingerprint_of(IDENTITY),
    "owner": {"id": "0" * 32, "host": "elsewhere", "pid": 7},
    "heartbeat": 1e9,
}
MANIFEST = {
    "job": "preprocess",
    "status": "complete",
    "config": {"seed": 1, "prompt_format": "alpaca", "max_length": 64, "max_answer_tokens": 8, "num_resamples": 5,
               "release": "x", "sizes": {"train": 10}, "negatives": "hard", "tasks": None, "categories": {}},
    "fingerprint": "f" * 64,
    "stage_version": 1,
    "inputs": {"samples_dir": "a" * 64},
    "rows": 12,
    "dropped": {"bad_row": 1},
    "errors": 0,
    "details": {"tokenizer_fingerprint": "b", "num_tokens": 5, "num_prompt_tokens": 7, "num_completion_tokens": 3,
                "actor_hours": 0.1, "rows_per_actor_second": 2.0, "tokens_per_actor_second": 9.0, "cost": 0.1,
                "rows_per_wall_second": 1.0, "currency": "USD", "counts": [["IND_Diverse_Instruction", "test", "x", 4]]},
    "files": [{"name": "data/x.parquet", "size": 3, "sha256": "c" * 64}],
}  # fmt: skip
TEXTS = st.one_of(
    changed_json([RUN, MANIFEST]), damaged_bytes([json.dumps(RUN).encode(), json.dumps(MANIFEST).encode()])
)
RUN_INFO = RunInfo("run", "r", "m", "fake", "greedy", "ours", 3, {}, 0, {})


def look_at_output(directory):
    """Do what a job does with the directory that it wants to write, in every order in which it may come."""
    for call in (
        lambda: read_state(STORAGE, directory, RUN["fingerprint"]),
        lambda: refuse_if_occupied(STORAGE, directory, IDENTITY, overwrite=False),
        lambda: refuse_if_held(STORAGE, directory),
        lambda: _has_errors_to_retry(STORAGE, directory, SimpleNamespace(retry_errors=True)),
        lambda: RunDirectory(STORAGE, directory, IDENTITY)._confirm(),
    ):
        try:
            read_or_be_told(call, directory)
        except OutputHeldError as error:
            assert len(str(error)) < 10_000


@pytest.mark.parametrize("name", [RUN_NAME, MANIFEST_NAME])
@fuzzed()
@given(text=TEXTS)
def test_a_record_in_the_output_directory(name, text):
    with scratch_directory() as scratch:
        (scratch / name).write_bytes(text)
        look_at_output(str(scratch))


@fuzzed()
@given(text=TEXTS)
def test_the_manifest_of_an_input(text):
    with scratch_directory() as scratch:
        (scratch / MANIFEST_NAME).write_bytes(text)
        directory = str(scratch)
        assert isinstance(read_or_be_told(lambda: fingerprint_input(STORAGE, directory), directory) or "", str)
        assert isinstance(
            read_or_be_told(lambda: fingerprint_input(STORAGE, f"{directory}/adapter"), directory) or "", str
        )
        for use in (
            lambda: describe_evaluation(STORAGE, directory, directory),
            lambda: [
                cost.is_known for cost in describe_costs({directory: read_manifest(STORAGE, directory)}, [RUN_INFO])
            ],
            lambda: pa.Table.from_pylist(
                run_rows({directory: read_manifest(STORAGE, directory)}, [RUN_INFO]), schema=RUNS
            ),
            lambda: write_record(scratch, _preprocess_manifest(STORAGE, directory).get("config", {})),
            lambda: comparability(
                read_manifest(STORAGE, directory), "Product_Matching", "IND_Diverse_Instruction", "test", 4
            ),
            lambda: list(remarks(read_manifest(STORAGE, directory), "Product_Matching", 1)),
        ):
            read_or_be_told(use, directory)


@fuzzed()
@given(text=st.one_of(
    changed_json([{"prompt_format": "alpaca", "max_length": 64, "max_answer_tokens": 8}]), damaged_bytes([b'{"prompt_format": "alpaca", "max_length": 64, "max_answer_tokens": 8}']),
))  # fmt: skip
def test_the_record_of_a_models_prompts(text):
    with scratch_directory() as scratch:
        (scratch / RECORD_NAME).write_bytes(text)
        record = read_or_be_told(lambda: read_record(str(scratch), None, STORAGE), scratch)
        if record is not None:
            assert (type(record.prompt_format), type(record.max_length), type(record.max_answer_tokens)) == (
                str,
                int,
                int,
            )


@cache
def first_entry():
    return select(read_addresses(STORAGE, None), None)[0]


FETCHED = {"size": 4, "sha256": "d" * 64, "url": "https://example.org/x", "upstream": {"length": 4, "etag": "e"}}


@fuzzed()
@given(text=st.one_of(changed_json([FETCHED]), damaged_bytes([json.dumps(FETCHED).encode()])))
def test_a_record_of_fetch(text):
    entry = first_entry()
    target = entry.targets[0]
    with scratch_directory() as scratch:
        for path, content in ((scratch / target.name, b"data"), (record_path(str(scratch), target.name), text)):
            STORAGE.write_bytes(str(path), content)
        read_or_be_told(lambda: fetch._look(FetchConfig(raw_dir=str(scratch))), scratch)
