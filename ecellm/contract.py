"""Whether tables that others made keep the contract of `ecellm.schema`: columns, types, nulls, text that is text."""

from collections.abc import Collection, Sequence

import pyarrow as pa

from ecellm.errors import InputError

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_FAMILIES = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def require_columns(path: str, there: pa.Schema, contract: pa.Schema, names: Sequence[str]) -> None:
    """Look at a file's schema, before its rows are read.

    Args:
        path: what messages call the file.
        there: the file's schema.
        contract: what it must keep.
        names: the columns of the contract that are needed.

    Raises:
        InputError: a column is missing, is there twice, or holds another kind of values.
    """
    require_names(path, there, names)
    for name in names:
        wanted, found = contract.field(name).type, there.field(name).type
        if not _is_of_kind(found, wanted):
            raise InputError(f"{path}: column {name} does not hold {_plain(wanted)}, but {found}")


def require_names(path: str, there: pa.Schema, names: Sequence[str]) -> None:
    """Raise `InputError` if a file lacks one of the columns, or has it twice."""
    missing = [name for name in names if name not in there.names]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}")
    if twice := next((name for name in names if there.names.count(name) > 1), None):
        raise InputError(f"{path} has the column {twice} twice")


def plain_type(contract: pa.Schema, name: str) -> pa.DataType:
    """Return the type of a contract's column; of categories, that of their values."""
    return _plain(contract.field(name).type)


def conform(table: pa.Table, contract: pa.Schema, where: str, never_null: Collection[str]) -> pa.Table:
    """Return a table with the columns' types of a contract; dictionaries become plain.

    Args:
        table: all of its columns are in the contract.
        contract: their types.
        where: what messages call the table's file.
        never_null: columns that hold no null.

    Raises:
        InputError: a value does not fit its type, or is null where it must not be.
    """
    for place, name in enumerate(table.column_names):
        wanted = plain_type(contract, name)
        try:
            table.column(place).validate(full=True)
            column = table.column(place).cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{where}: column {name} does not hold {wanted}: {error}") from None
        if column.null_count and name in never_null:
            raise InputError(f"{where}: column {name} is null in {column.null_count:,} of {table.num_rows:,} rows")
        table = table.set_column(place, name, column)
    return table


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_of_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    found, wanted = _plain(found), _plain(wanted)
    if pa.types.is_null(found):
        return True  # whether nulls will do is told by the rows
    if pa.types.is_map(wanted):
        return (
            pa.types.is_map(found)
            and _is_of_kind(found.key_type, wanted.key_type)
            and _is_of_kind(found.item_type, wanted.item_type)
        )
    if any(is_list(wanted) for is_list in _LISTS):
        return any(is_list(found) for is_list in _LISTS) and _is_of_kind(found.value_type, wanted.value_type)
    if any(is_text(wanted) for is_text in _TEXTS):
        return any(is_text(found) for is_text in _TEXTS)
    return any(is_kind(found) and is_kind(wanted) for is_kind in _FAMILIES)
