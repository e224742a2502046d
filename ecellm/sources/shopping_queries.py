"""Shopping Queries (ESCI): two Parquet files, judgements and products, read in groups of row groups.

Upstream: github.com/amazon-science/esci-data (Apache-2.0).
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.errors import InputError
from ecellm.storage import Storage, join

_DIRECTORY = "shopping_queries"
LOCALE = "us"
_BATCH_ROWS = 65_536
EXAMPLE_COLUMNS = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version", "split")  # fmt: skip  # noqa: E501
PRODUCT_COLUMNS = ("product_id", "product_locale", "product_title")
_NUMBERS = ("example_id", "query_id", "small_version")


def examples_file(raw_dir: str) -> str:
    """Return the path of the judgements."""
    return join(raw_dir, _DIRECTORY, "shopping_queries_dataset_examples.parquet")


def products_file(raw_dir: str) -> str:
    """Return the path of the products."""
    return join(raw_dir, _DIRECTORY, "shopping_queries_dataset_products.parquet")


def num_row_groups(storage: Storage, path: str, columns: Sequence[str]) -> int:
    """Return how many row groups a file has.

    Raises:
        InputError: the file is missing, is not Parquet, lacks one of the columns, or one is of another type.
    """
    with storage.parquet_file(path) as file:
        schema = file.schema_arrow
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names)}")
        for name in columns:
            if schema.names.count(name) > 1:
                raise InputError(f"{path} has the column {name} twice")
            wanted, is_wanted = ("whole numbers", _is_number) if name in _NUMBERS else ("text", _is_text)
            if not is_wanted(schema.field(name).type):
                raise InputError(f"{path}: column {name} is {schema.field(name).type}, but must be {wanted}")
        return int(file.num_row_groups)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def iter_us_rows(storage: Storage, path: str, columns: Sequence[str], row_groups: Sequence[int]) -> Iterator[pa.Table]:
    """Yield the rows of the US locale of some row groups, some ten thousand at a time."""
    with storage.parquet_file(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=list(row_groups), columns=list(columns)):
            table = pa.Table.from_batches([batch])
            yield table.filter(pc.equal(table["product_locale"].cast(pa.string()), LOCALE))
