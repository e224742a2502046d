"""Tables that others made, against the contract."""

import pyarrow as pa
import pytest

from ecellm.contract import conform, require_columns
from ecellm.errors import InputError

CONTRACT = pa.schema([("scores", pa.map_(pa.string(), pa.float32())), ("text", pa.string())])


def test_a_map_may_name_its_parts_as_it_likes():
    """As Parquet does when it has read one back."""
    named = pa.map_(pa.field("key", pa.string(), nullable=False), pa.field("scores", pa.float64()))
    table = pa.table({"scores": pa.array([[("A", 0.5)], None], named)})
    require_columns("f", table.schema, CONTRACT, ["scores"])
    assert conform(table, CONTRACT, "f", ()).to_pylist() == [{"scores": [("A", 0.5)]}, {"scores": None}]


@pytest.mark.parametrize("kind", [pa.string(), pa.map_(pa.string(), pa.string()), pa.map_(pa.int8(), pa.float32())])
def test_what_is_another_kind_of_values_is_told(kind):
    with pytest.raises(InputError, match="f: column scores does not hold map<string, float>, but"):
        require_columns("f", pa.schema([("scores", kind)]), CONTRACT, ["scores"])
