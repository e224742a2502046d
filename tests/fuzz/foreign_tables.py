"""Parquet tables that others made, drawn by hypothesis: a valid table with other columns, types and values."""

import datetime as dt
import decimal

import pyarrow as pa
from hypothesis import strategies as st

_TIME = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)


def _invalid_text(num_rows):
    """Return a text column whose bytes are no UTF-8."""
    return pa.array([b"caf\xe9"] * num_rows, pa.binary()).view(pa.string())


# Columns of as many rows as asked for, of types and values that the contract does not have in this place.
FOREIGN_COLUMNS = {
    "nulls": pa.nulls,
    "null texts": lambda n: pa.nulls(n, pa.string()),
    "one null": lambda n: pa.array([None, *["x"] * (n - 1)]),
    "numbers": lambda n: pa.array(range(n), pa.int64()),
    "small numbers": lambda n: pa.array([k % 100 for k in range(n)], pa.int8()),
    "huge numbers": lambda n: pa.array([2**63 - 1] * n, pa.int64()),
    "unsigned numbers": lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    "negative numbers": lambda n: pa.array([-1] * n, pa.int32()),
    "fractions": lambda n: pa.array([0.5] * n),
    "NaN": lambda n: pa.array([float("nan"), *[float("inf")] * (n - 1)]),
    "half precision": lambda n: pa.array([1.0] * n, pa.float16()),
    "decimals": lambda n: pa.array([decimal.Decimal("1e20")] * n),
    "booleans": lambda n: pa.array([True] * n),
    "texts": lambda n: pa.array(["x"] * n),
    "empty texts": lambda n: pa.array([""] * n),
    "odd texts": lambda n: pa.array(["\0\u202e\u2028'\"<script>../../"] * n),
    "long texts": lambda n: pa.array(["x" * 100_000] * n),
    "large strings": lambda n: pa.array([f"id-{k}" for k in range(n)], pa.large_string()),
    "string views": lambda n: pa.array([f"id-{k}" for k in range(n)], pa.string_view()),
    "invalid UTF-8": _invalid_text,
    "bytes": lambda n: pa.array([b"\xff"] * n),
    "dictionary": lambda n: pa.array(["a"] * n).dictionary_encode(),
    "dictionary of numbers": lambda n: pa.array([7] * n).dictionary_encode(),
    "dates": lambda n: pa.array([dt.date(2024, 1, 31)] * n),
    "times": lambda n: pa.array([_TIME] * n),
    "times that Python has not": lambda n: pa.array([2**62] * n, pa.timestamp("us")),
    "durations": lambda n: pa.array([dt.timedelta(1)] * n),
    "lists": lambda n: pa.array([[1, None]] * n),
    "empty lists": lambda n: pa.array([[]] * n, pa.list_(pa.int32())),
    "huge ids": lambda n: pa.array([[2**40]] * n),
    "fixed lists": lambda n: pa.array([[1, 2]] * n, pa.list_(pa.int32(), 2)),
    "large lists": lambda n: pa.array([[3, 4, 2]] * n, pa.large_list(pa.int64())),
    "texts in lists": lambda n: pa.array([["E", "S"]] * n),
    "deep lists": lambda n: pa.array([[[[["x"]]]]] * n),
    "objects": lambda n: pa.array([{"a": 1, "b": {"c": ["x"]}}] * n),
    "maps": lambda n: pa.array([[("a", 1.0), ("a", float("nan"))]] * n, pa.map_(pa.string(), pa.float64())),
}
_CHANGES = ["replace", "replace", "replace", "drop", "double", "rename", "repeat rows", "no rows", "shuffle", "extra"]


@st.composite
def foreign_tables(draw, tables):
    """Draw one of `tables` with one to three changes."""
    table = draw(st.sampled_from(tables))
    for _ in range(draw(st.integers(1, 3))):
        if not table.num_columns:
            break
        place = draw(st.integers(0, table.num_columns - 1))
        name = table.column_names[place]
        foreign = FOREIGN_COLUMNS[draw(st.sampled_from(sorted(FOREIGN_COLUMNS)))](max(1, table.num_rows))
        foreign = foreign.slice(0, table.num_rows)
        kind = draw(st.sampled_from(_CHANGES))
        if kind == "replace":
            table = table.set_column(place, name, foreign)
        elif kind == "drop":
            table = table.remove_column(place)
        elif kind == "double":
            table = table.append_column(name, table.column(place))
        elif kind == "rename":
            table = table.rename_columns([f"{own}x" if own == name else own for own in table.column_names])
        elif kind == "repeat rows":
            table = pa.concat_tables([table, table.slice(0, 2)])
        elif kind == "no rows":
            table = table.slice(0, 0)
        elif kind == "shuffle":
            table = pa.concat_tables([table.slice(2), table.slice(0, 2)])
        else:
            table = table.append_column(draw(st.sampled_from(["extra", "", "a.b", "__index_level_0__"])), foreign)
    return table
