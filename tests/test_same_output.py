"""What the comparison of two outputs notices, and what it passes over."""

import json

import pyarrow as pa
import pytest

from ecellm.storage import Storage
from tests.same_output import assert_same_output

ROWS = {"sample_id": ["a", "b"], "response": ["yes", "no"], "run_id": ["1", "1"], "loss": [0.5, None]}


def write(directory, rows=None, *, name="data/task=PM/part-00000.parquet", **manifest):
    Storage().write_table(f"{directory}/{name}", pa.table(ROWS | (rows or {})))
    counts = {"job": "predict", "status": "complete", "stage_version": 1, "rows": 2, "dropped": {}, "errors": 0}
    (directory / "_manifest.json").write_text(json.dumps(counts | manifest))
    return directory


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "reference")


def test_the_name_of_a_run_and_rounding_do_not_matter(reference, tmp_path):
    ours = write(tmp_path / "ours", {"run_id": ["2", "2"], "loss": [0.5 + 1e-8, None]}, wall_seconds=9)
    assert_same_output(ours, reference)


@pytest.mark.parametrize(
    ("rows", "others", "told"),
    [
        ({"sample_id": ["b", "a"]}, {}, "sample_id"),
        ({name: values[:1] for name, values in ROWS.items()}, {}, "part-00000"),
        ({"response": ["yes", "yes"]}, {}, "the contents of response differ"),
        ({"loss": [0.6, None]}, {}, "loss"),
        ({}, {"name": "data/task=PM/part-00001.parquet"}, "part-00001"),
        ({}, {"errors": 1}, "'errors': 1"),
        ({}, {"status": "complete_with_errors"}, "complete_with_errors"),
    ],
)
def test_what_differs_is_told(reference, tmp_path, rows, others, told):
    ours = write(tmp_path / "ours", rows, **others)
    with pytest.raises(AssertionError, match=told):
        assert_same_output(ours, reference)


def test_nothing_to_compare_with_is_no_success(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AssertionError, match="no Parquet"):
        assert_same_output(empty, empty)
