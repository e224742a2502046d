"""Shopping Queries: the US rows of two Parquet files, read by row group; a wrong file is named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.errors import InputError
from ecellm.sources.shopping_queries import EXAMPLE_COLUMNS, PRODUCT_COLUMNS, iter_us_rows, num_row_groups
from ecellm.storage import Storage

PRODUCTS = {
    "product_id": [f"B{number}" for number in range(10)],
    "product_locale": ["us", "jp", None, "us", "es", "us", "US", "us", "us", "uk"],
    "product_title": ["t"] * 9 + [None],
    "product_color": ["red"] * 10,
}


def write(path, columns, rows_per_group=3):
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return str(path)


def test_rows_of_other_locales_are_left_out(tmp_path):
    path = write(tmp_path / "products.parquet", PRODUCTS)
    assert num_row_groups(Storage(), path, PRODUCT_COLUMNS) == 4
    tables = list(iter_us_rows(Storage(), path, PRODUCT_COLUMNS, [0, 1, 2, 3]))
    assert [value for table in tables for value in table["product_id"].to_pylist()] == ["B0", "B3", "B5", "B7", "B8"]
    assert all(set(table.column_names) == set(PRODUCT_COLUMNS) for table in tables)


def test_only_the_row_groups_that_are_asked_for_are_read(tmp_path):
    path = write(tmp_path / "products.parquet", PRODUCTS)
    tables = list(iter_us_rows(Storage(), path, PRODUCT_COLUMNS, [1, 2]))
    assert [value for table in tables for value in table["product_id"].to_pylist()] == ["B3", "B5", "B7", "B8"]


def test_a_locale_that_is_dictionary_encoded(tmp_path):
    columns = PRODUCTS | {"product_locale": pa.array(PRODUCTS["product_locale"]).dictionary_encode()}
    path = write(tmp_path / "products.parquet", columns)
    assert sum(table.num_rows for table in iter_us_rows(Storage(), path, PRODUCT_COLUMNS, [0, 1, 2, 3])) == 5


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = write(tmp_path / "products.parquet", PRODUCTS)
    with pytest.raises(InputError, match=r"products\.parquet has no column example_id, query, .*; it has product_id"):
        num_row_groups(Storage(), path, EXAMPLE_COLUMNS)
    (tmp_path / "text.parquet").write_text("not Parquet")
    with pytest.raises(InputError, match=r"text\.parquet is not a readable Parquet file"):
        num_row_groups(Storage(), str(tmp_path / "text.parquet"), PRODUCT_COLUMNS)


def test_a_column_of_another_type_is_refused_before_the_work(tmp_path):
    path = write(tmp_path / "products.parquet", PRODUCTS | {"product_title": list(range(10))})
    with pytest.raises(InputError, match=r"products\.parquet: column product_title is int64"):
        num_row_groups(Storage(), path, PRODUCT_COLUMNS)
