"""What fuzzing found, one explicit example each: input that ended in a traceback, a hang or wrong rows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.command_line import run_guarded
from ecellm.config import OwnDataDefaults, StorageConfig
from ecellm.contract import conform, require_columns
from ecellm.dataset import segments
from ecellm.dataset.instructions import read_catalogue
from ecellm.dataset.qpr_labels import read_qpr_labels
from ecellm.dataset.split_release import split_release
from ecellm.errors import InputError, OutputHeldError
from ecellm.evaluation.answered import read_columns
from ecellm.evaluation.published_comparability import comparability
from ecellm.evaluation.report.runs import training_log
from ecellm.fingerprint import MANIFEST_NAME, RUN_NAME, fingerprint_input
from ecellm.inference.asking import ASKED_COLUMNS
from ecellm.inference.journal import Journal
from ecellm.manifest import read_manifest, read_record, refuse_if_held, refuse_if_occupied
from ecellm.prompts.record import RECORD_NAME, record_of
from ecellm.prompts.record import read_record as read_prompt_record
from ecellm.redaction import redacted_text
from ecellm.schema import SAMPLES
from ecellm.sources import shopping_queries
from ecellm.storage import Storage
from tests.fuzz.readers import quarantined, raw_world, release_rows
from tests.fuzz.test_fuzz_tables import read_training_rows, sample_tables, training_index, training_rows, write

STORAGE = Storage()


def split(path, out):
    arguments = (StorageConfig().model_dump(), OwnDataDefaults().model_dump(), "quarantine")
    return split_release(str(path), str(out), *arguments)


# Released and own data.


def test_a_row_too_deep_to_be_written_again_is_put_aside(tmp_path):
    good = json.dumps(release_rows()[0])
    (tmp_path / "own.jsonl").write_text(f'{good}\n{{"task": {"[" * 900}{"]" * 900}}}\n{good}\n')
    result = split(tmp_path / "own.jsonl", tmp_path / "out")
    assert (result["num_rows"], result["num_bad_rows"], quarantined(tmp_path / "out")) == (3, 1, 1)


def test_a_day_that_python_cannot_hold_is_told_with_its_row(tmp_path):
    table = pa.Table.from_pylist(release_rows()[:2]).append_column("day", pa.array([0, 2**62], pa.timestamp("us")))
    pq.write_table(table, tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet is damaged after row"):
        split(tmp_path / "own.parquet", tmp_path / "out")


def test_a_release_without_a_usable_row_is_named(tmp_path):
    (tmp_path / "release.json").write_text("[null]")
    with pytest.raises(InputError, match=r"release\.json: none of the 1 rows is usable"):
        split(tmp_path / "release.json", tmp_path / "out")


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5000 + "]", "[1e400", "\ud800"])
def test_json_that_python_cannot_read_is_told(text, tmp_path):
    (tmp_path / "labels.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"labels\.json is not valid JSON"):
        read_qpr_labels(STORAGE, str(tmp_path / "labels.json"))


def test_a_list_of_labels_of_any_length_is_shown_in_part(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps([["x" * 1000] * 1000]))
    with pytest.raises(InputError, match="list 0 must hold labels out of E, S, C, I") as caught:
        read_qpr_labels(STORAGE, str(tmp_path / "labels.json"))
    assert len(str(caught.value)) < 8000


def catalogue(path, **changes):
    path.write_text(json.dumps({"tasks": {"PM": {"seed": "a", "diverse": ["b"], "unseen": "c"} | changes}}))
    return read_catalogue(STORAGE, str(path))


def test_a_wording_that_is_no_text_is_told_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"c\.json: PM: a wording holds a lone surrogate"):
        catalogue(tmp_path / "c.json", seed="half \ud800")


def test_many_wordings_take_no_time(tmp_path):
    """Each was looked for in all others: a hundred thousand took an hour."""
    assert len(catalogue(tmp_path / "c.json", diverse=[str(k) for k in range(100_000)])["PM"].diverse) == 100_001


# Tables.


def test_columns_of_different_types_in_files_of_one_place_are_told(tmp_path):
    files = [
        write(tmp_path / "a.parquet", pa.table({"x": ["a"]})),
        write(tmp_path / "b.parquet", pa.table({"x": [[1]]})),
    ]
    with pytest.raises(InputError, match=r"a\.parquet and the files beside it do not have the same columns"):
        read_columns(STORAGE, files, ["x"])


def test_samples_that_lack_a_column_are_told_before_the_work(tmp_path):
    (table, *_) = sample_tables().values()
    path = write(tmp_path / "samples.parquet", table.drop_columns(["options", "input"]))
    with pytest.raises(InputError, match=r"samples\.parquet lacks the columns input, options"):
        segments.cut(STORAGE, [path], 10, columns=ASKED_COLUMNS)
    path = write(tmp_path / "samples.parquet", table.set_column(0, "sample_id", pa.array(range(len(table)))))
    with pytest.raises(InputError, match=r"column sample_id does not hold string, but int64"):
        segments.cut(STORAGE, [path], 10, columns=ASKED_COLUMNS)


def test_a_null_where_a_text_must_be_is_told(tmp_path):
    (table, *_) = sample_tables().values()
    place = table.column_names.index("input")
    path = write(tmp_path / "samples.parquet", table.set_column(place, "input", pa.nulls(len(table), pa.string())))
    (piece,) = segments.cut(STORAGE, [path], 10, columns=ASKED_COLUMNS)
    with pytest.raises(InputError, match=r"samples\.parquet: column input is null in 4 of 4 rows"):
        segments.read(STORAGE, piece, ASKED_COLUMNS)


def test_text_that_is_no_utf8_is_told():
    table = pa.table({"input": pa.array([b"caf\xe9"], pa.binary()).view(pa.string())})
    with pytest.raises(InputError, match="file: column input does not hold string"):
        conform(table, SAMPLES, "file", ())


def test_a_column_twice_is_told():
    twice = pa.schema([("input", pa.string()), ("input", pa.string())])
    with pytest.raises(InputError, match="has the column input twice"):
        require_columns("file", twice, SAMPLES, ["input"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"file": "../../secret.parquet"}, "no Parquet file beside it"),
        ({"file": "part-00000.txt"}, "no Parquet file beside it"),
        ({"row_group": 7}, "other row groups than its _index"),
        ({"row_group": -1}, "row group -1"),
        ({"num_rows": 5}, "other row groups than its _index"),
        ({"first_position": 3}, "begins at 3 with 8 rows, but 0 rows come before it"),
        ({"file": None}, "column file is null"),
    ],
)
def test_an_index_of_training_rows_that_lies_is_told(changes, told, tmp_path):
    index = pa.Table.from_pylist([training_index().to_pylist()[0] | changes])
    with pytest.raises(InputError, match=told):
        read_training_rows(tmp_path, training_rows(), index)


def test_training_rows_of_another_integer_type_are_read(tmp_path):
    rows = training_rows()
    place = rows.column_names.index("input_ids")
    wide = rows.set_column(place, "input_ids", rows["input_ids"].cast(pa.large_list(pa.int64())))
    assert read_training_rows(tmp_path / "wide", wide, training_index()) == read_training_rows(
        tmp_path, rows, training_index()
    )


def test_a_training_log_with_texts_for_steps_is_told(tmp_path):
    write(
        tmp_path / "training_log/data/x.parquet",
        pa.table({"step": ["one"], "kind": ["train"], "loss": [1.0], "learning_rate": [0.1]}),
    )
    with pytest.raises(InputError, match=r"x\.parquet: column step does not hold int64"):
        training_log(STORAGE, str(tmp_path))


def test_a_journal_of_other_columns_is_told(tmp_path):
    write(tmp_path / "in_progress/part-00000/00000.parquet", pa.table({"x": [1]}))
    with pytest.raises(InputError, match=r"00000\.parquet lacks the columns run_id"):
        Journal(STORAGE, str(tmp_path), "part-00000.parquet", 1.0)


# Manifests and records.


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "{}", '{"fingerprint": 7}', '{"fingerprint": "f", "owner": []}', '{"fingerprint": "f", "details": 1}'],
)
def test_a_record_that_no_job_wrote_is_told(text, tmp_path):
    for name, read in ((MANIFEST_NAME, fingerprint_input), (RUN_NAME, read_record)):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read(STORAGE, str(tmp_path))


@pytest.mark.parametrize("heartbeat", ['"soon"', "null", "[]", "Infinity", "NaN", "1e400", "-1", "9" * 4000])
def test_a_heartbeat_that_is_no_time_holds_nothing(heartbeat, tmp_path):
    (tmp_path / RUN_NAME).write_text(f'{{"fingerprint": "f", "heartbeat": {heartbeat}, "owner": {{}}}}')
    refuse_if_held(STORAGE, str(tmp_path))


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_a_process_that_cannot_be_is_dead(pid, tmp_path):
    import socket
    import time

    record = {"fingerprint": "f", "heartbeat": time.time(), "owner": {"host": socket.gethostname(), "pid": pid}}
    (tmp_path / RUN_NAME).write_text(json.dumps(record))
    refuse_if_held(STORAGE, str(tmp_path))
    (tmp_path / RUN_NAME).write_text(json.dumps(record | {"owner": {"host": "elsewhere", "pid": pid}}))
    with pytest.raises(OutputHeldError, match="elsewhere"):
        refuse_if_held(STORAGE, str(tmp_path))


def test_a_difference_of_any_depth_and_length_is_shown_in_part(tmp_path):
    deep = "[" * 400 + "]" * 400
    (tmp_path / RUN_NAME).write_text(f'{{"fingerprint": "f", "job": {deep}, "inputs": {{"x": "{"y" * 100_000}"}}}}')
    with pytest.raises(InputError, match="was made by another configuration") as caught:
        refuse_if_occupied(STORAGE, str(tmp_path), {"job": "ingest", "inputs": {}}, overwrite=False)
    assert len(str(caught.value)) < 2000


def test_samples_whose_manifest_is_odd_are_not_compared_with_the_paper(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text('{"job": "ingest", "config": {"defaults": 7}, "dropped": {"x": "y"}}')
    manifest = read_manifest(STORAGE, str(tmp_path))
    told = comparability(manifest, "Product_Matching", "IND_Diverse_Instruction", "test", 4)
    assert told == "the samples' manifest is not what a job of this suite writes"


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"prompt_format": null, "max_length": 1, "max_answer_tokens": 1}', "[" * 9999]
)
def test_a_record_of_prompts_that_finetune_did_not_write_is_told(text, tmp_path):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(InputError, match=r"prompt\.json beside it is not what finetune wrote"):
        read_prompt_record(str(tmp_path), None, STORAGE)


def test_a_preprocess_config_without_its_fields_makes_no_record():
    assert record_of({"max_length": 5}) is None
    assert record_of({"prompt_format": "alpaca", "max_length": "5", "max_answer_tokens": 1}) is None


# The last line.


@pytest.mark.parametrize("message", ["half \ud800 a character", "\x1b[2J cleared", "two\nlines\u2028more", "x" * 10**6])
def test_the_last_line_is_one_short_line_whatever_the_message_quotes(message, capfd):
    def body():
        raise InputError(message)

    assert run_guarded(body) == 2
    last = capfd.readouterr().out.removesuffix("\n").rsplit("\n", 1)[-1]
    assert last.startswith("ecellm: exit=2 reason=")
    assert len(last) < 9000
    assert last.isprintable()


def test_the_name_of_a_foreign_file_may_be_no_text(tmp_path):
    (tmp_path / "caf\udce9.parquet").write_bytes(b"PAR1")
    assert len(fingerprint_input(STORAGE, str(tmp_path))) == 64


def test_a_column_of_shopping_queries_twice_is_told(tmp_path):
    path = shopping_queries.examples_file(str(tmp_path))
    table = pq.ParquetFile(shopping_queries.examples_file(str(raw_world()))).read()
    write(path, table.append_column("query", table["query"]))
    with pytest.raises(InputError, match="has the column query twice"):
        shopping_queries.num_row_groups(STORAGE, path, shopping_queries.EXAMPLE_COLUMNS)


def test_an_error_message_of_a_megabyte_is_searched_for_logins_at_once():
    login = "me:it" + "@"
    assert redacted_text("x" * 10**6 + f" s3://{login}host") == "x" * 10**6 + " s3://[redacted]@host"
