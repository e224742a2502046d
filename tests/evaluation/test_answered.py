"""Predictions joined with the samples that they answer."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.errors import InputError
from ecellm.evaluation import joined
from ecellm.evaluation.answered import Answered, asked_by_any, list_runs, read_columns
from ecellm.evaluation.joined import join_answered, join_asked
from ecellm.schema import PREDICTION_ERRORS
from ecellm.storage import Storage

TASK = "Sequential_Recommendation"


@pytest.fixture(autouse=True, params=[2048, 2])
def rows_of_a_block(request, monkeypatch):
    """Whatever comes of a join does not depend on how many rows are read at a time."""
    monkeypatch.setattr(joined, "BLOCK_ROWS", request.param)


def whole(found):
    """Return all blocks of a join as one."""
    samples, responses, facts = [], [], {}
    for block in found.blocks():
        samples += block.samples
        responses += block.responses
        for name, values in block.facts.items():
            facts.setdefault(name, []).extend(values)
    return Answered(samples, responses, found.run, facts)


def read_answered(storage, predictions, samples):
    return whole(join_answered(storage, predictions, samples))


@pytest.fixture
def rows(make_sample):
    return [
        make_sample(TASK, number, "A", split="val" if number % 2 else "test", category=f"c{number}")
        for number in range(6)
    ]


@pytest.fixture
def answered_files(rows, write_samples, write_predictions):
    """Return the files of predictions and, by split, of samples."""
    directory, samples_dir = (
        write_predictions("run", rows[::-1], lambda row: str(row["row_index"])),
        write_samples(rows),
    )
    (files,) = list_runs(Storage(), directory)[0].values()
    samples = {
        split: sorted(map(str, Path(samples_dir).rglob(f"split={split}/**/*.parquet"))) for split in ("test", "val")
    }
    return files, samples


def test_answers_are_in_the_order_of_the_samples_with_what_is_known_of_each(answered_files, rows):
    answered = read_answered(Storage(), *answered_files)
    assert [sample["row_index"] for sample in answered.samples] == [0, 2, 4, 1, 3, 5]
    assert list(answered.responses) == ["0", "2", "4", "1", "3", "5"]
    assert [sample["category"] for sample in answered.samples] == ["c0", "c2", "c4", "c1", "c3", "c5"]
    assert answered.facts == {"num_prompt_tokens": [1] * 6, "was_shortened": [False] * 6, "finish_reason": ["stop"] * 6}
    assert answered.run_id == "run-run"


def test_each_split_has_its_own_rows(answered_files):
    found = join_answered(Storage(), *answered_files)
    assert [(part.splits, len(part)) for part in found.by_split()] == [([("test", 3)], 3), ([("val", 3)], 3)]
    test, val = map(whole, found.by_split())
    assert [{sample["split"] for sample in part.samples} for part in (test, val)] == [{"test"}, {"val"}]
    assert list(val.responses) == ["1", "3", "5"]


def test_files_of_others_may_lack_what_only_slices_need(answered_files):
    predictions, samples = answered_files
    for path in (*predictions, *samples["test"], *samples["val"]):
        table = pq.ParquetFile(path).read()
        there = [name for name in ("num_prompt_tokens", "was_shortened", "category") if name in table.column_names]
        Storage().write_table(path, table.drop_columns(there))
    answered = read_answered(Storage(), predictions, samples)
    assert set(answered.facts) == {"finish_reason"}
    assert "category" not in answered.samples[0]


def test_an_optional_column_of_one_file_is_null_in_the_others(tmp_path, answered_files):
    _, samples = answered_files
    bare = str(tmp_path / "bare.parquet")
    Storage().write_table(bare, pq.ParquetFile(samples["val"][0]).read().drop_columns(["category"]))
    table = read_columns(Storage(), [*samples["test"], bare], ["row_index"], ["category", "nowhere"])
    assert table.to_pydict() == {"row_index": [0, 2, 4, 1, 3, 5], "category": ["c0", "c2", "c4", None, None, None]}
    with pytest.raises(InputError, match=r"bare.parquet lacks the columns category"):
        read_columns(Storage(), [bare], ["category"])


def fail_rows(files, *numbers):
    """Move rows of a predictions file into the errors beside its data."""
    (path,) = files
    table, root = pq.read_table(path), path.split("/data/")[0]
    is_failed = [number in numbers for number in table["row_index"].to_pylist()]
    failed = table.filter(pa.array(is_failed)).select(PREDICTION_ERRORS.names[:-1])
    failed = failed.append_column("reason", pa.array(["it broke"] * failed.num_rows))
    Storage().write_table(f"{root}/errors/{Path(path).name}", failed.cast(PREDICTION_ERRORS))
    Storage().write_table(path, table.filter(pa.array([not each for each in is_failed])))


def test_a_row_that_failed_is_answered_by_nothing(answered_files):
    """No run may gain by failing where it is hard."""
    files, samples = answered_files
    fail_rows(files, 2, 5)
    answered = read_answered(Storage(), files, samples)
    assert list(answered.responses) == ["0", "", "4", "1", "3", ""]
    assert answered.facts["finish_reason"] == ["stop", "failed", "stop", "stop", "stop", "failed"]
    assert answered.facts["num_prompt_tokens"] == [1, None, 1, 1, 1, None]
    assert answered.run_id == "run-run"


def test_trivial_baselines_answer_what_any_run_was_asked(rows, answered_files, write_predictions):
    files, samples = answered_files
    fail_rows(files, 2)
    other = write_predictions("other", rows[:2], lambda _row: "A")
    places = asked_by_any([*list_runs(Storage(), other), {("IND_Diverse_Instruction", TASK): files}])
    ((place, both),) = places.items()
    assert place == ("IND_Diverse_Instruction", TASK)
    assert [sample["row_index"] for sample in whole(join_asked(Storage(), both, samples)).samples] == [0, 2, 4, 1, 3, 5]
    (few,) = list_runs(Storage(), other)[0].values()
    assert [sample["row_index"] for sample in whole(join_asked(Storage(), few, samples)).samples] == [0, 1]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("response", pa.array([None, *"ABCDE"]), "column response is null in 1 of 6 rows"),
        ("response", pa.array([b"\xff", *[b"A"] * 5]), "column response does not hold string"),
        ("run_id", pa.nulls(6, pa.string()), "column run_id is null in 6 of 6 rows"),
        ("num_prompt_tokens", pa.array([float("nan")] * 6), "column num_prompt_tokens does not hold int"),
        ("was_shortened", pa.array(["?"] * 6), "column was_shortened does not hold bool"),
    ],
)
def test_what_a_column_must_not_hold_is_refused(answered_files, column, values, message):
    files, samples = answered_files
    table = pq.read_table(files[0])
    table = table.set_column(table.column_names.index(column), column, values)
    pq.write_table(table, files[0])
    with pytest.raises(InputError, match=message):
        read_answered(Storage(), files, samples)


def test_a_sample_that_is_there_twice_is_refused(answered_files):
    files, samples = answered_files
    path = samples["test"][0]
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path)
    with pytest.raises(InputError, match="hold a sample twice"):
        read_answered(Storage(), files, samples)
