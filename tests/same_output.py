"""Compares what two runs of a job made: row counts, ids, digests of all columns, and the manifests' counts."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Names of a run, and what it took: they follow from where a run reads its inputs and from the clock, not from the data.
_OF_THE_RUN = {
    *("run_id", "baseline_run_id", "against_run_id", "model", "adapter", "samples_fingerprint"),
    *("predictions_dir", "manifest", "fingerprint", "git_commit"),
}
_MEASURED = {"seconds", "tokens_per_second", "mfu", "memory_gib"}
# Follows from how many workers share out the rows of a step.
_OF_THE_WORKERS = {"padding_share"}
# Sums that are added in another order where the number of workers, or a restart, changed: equal to rounding.
_COMPUTED = {"loss", "grad_norm", "choice_scores"}
_LEFT_OUT = ("checkpoints/", "tensorboard/")
_COUNTS = ("job", "status", "stage_version", "rows", "dropped", "errors")


def tables_of(directory: str | Path) -> dict[str, pa.Table]:
    """Return all Parquet files below a directory that a stage hands on, by their path."""
    root = Path(directory)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.parquet"))
    return {name: pq.ParquetFile(root / name).read() for name in names if not name.startswith(_LEFT_OUT)}


def assert_same_output(ours: str | Path, reference: str | Path, *, tolerance: float = 1e-6) -> None:
    """Compare the output directories of two runs of one job, which may have read copies of the inputs elsewhere.

    Args:
        ours: the directory that is looked at.
        reference: of a run that nothing disturbed.
        tolerance: largest difference of losses, gradients' norms and choices' scores, sums of floats; all else is
            equal.
    """
    found, expected = tables_of(ours), tables_of(reference)
    assert expected, f"{reference} holds no Parquet"
    assert list(found) == list(expected)
    for name, table in expected.items():
        _assert_same_table(name, found[name], table, tolerance)
    assert _counts(ours) == _counts(reference)


def _assert_same_table(name: str, ours: pa.Table, reference: pa.Table, tolerance: float) -> None:
    # The metadata of a file as a whole says who made it and how long it took; those of its columns are the contract.
    schemas = [table.schema.remove_metadata() for table in (ours, reference)]
    assert schemas[0].equals(schemas[1], check_metadata=True), name
    assert ours.num_rows == reference.num_rows, name
    for ids in {"sample_id", "example_id", "position", "step"}.intersection(ours.column_names):
        assert ours[ids].to_pylist() == reference[ids].to_pylist(), f"{name}: {ids}"
    for column in _COMPUTED.intersection(ours.column_names):
        _assert_close(ours[column].to_pylist(), reference[column].to_pylist(), tolerance, f"{name}: {column}")
    own_columns = _OF_THE_RUN | _MEASURED | _OF_THE_WORKERS | _COMPUTED
    kept = [column for column in ours.column_names if column not in own_columns]
    digests = [{column: digest_of(table[column]) for column in kept} for table in (ours, reference)]
    differing = [column for column in kept if digests[0][column] != digests[1][column]]
    assert not differing, f"{name}: the contents of {', '.join(differing)} differ"


def _assert_close(ours: list[Any], reference: list[Any], tolerance: float, what: str) -> None:
    """Compare numbers, or lists of (key, number) as maps are read; null equals null."""
    if reference and isinstance(next(filter(None, reference), None), list):
        keys = [[[key for key, _ in row or ()] for row in rows] for rows in (ours, reference)]
        assert keys[0] == keys[1], what
        ours, reference = ([number for row in rows for _, number in row or ()] for rows in (ours, reference))
    assert ours == pytest.approx(reference, abs=tolerance, nan_ok=True), what


def digest_of(column: pa.ChunkedArray) -> str:
    """Return the SHA-256 of a column's values in order, however they lie in row groups."""
    return sha256(json.dumps(column.to_pylist(), default=str).encode()).hexdigest()


def _counts(directory: str | Path) -> dict[str, object]:
    manifest = json.loads((Path(directory) / "_manifest.json").read_text())
    return {name: manifest[name] for name in _COUNTS}
