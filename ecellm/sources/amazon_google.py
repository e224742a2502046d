"""Reads the Amazon-GoogleProducts benchmark: two product tables and the mapping between them, three CSV files.

The files are CRLF and not UTF-8 (bytes that do not decode become U+FFFD), prices may hold text, and many fields are
missing. How a missing value or a price is written in a sample is defined by how pandas reads the column, hence
pandas.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecellm.errors import InputError
from ecellm.storage import Storage, join
from ecellm.visible_text import short_repr, short_text

if TYPE_CHECKING:
    import pandas as pd

DIRECTORY = "amazon_google"
_MOST_SHOWN = 1000  # characters of a message
_PRODUCT_FIELDS = ("description", "manufacturer", "price")
_FILES = {
    "Amazon.csv": ("id", "title", *_PRODUCT_FIELDS),
    "GoogleProducts.csv": ("id", "name", *_PRODUCT_FIELDS),
    "Amzon_GoogleProducts_perfectMapping.csv": ("idAmazon", "idGoogleBase"),
}


@dataclass(frozen=True)
class AmazonGoogle:
    """The three tables. Both product tables have id, title, description, manufacturer, price."""

    amazon: "pd.DataFrame"
    google: "pd.DataFrame"
    mapping: "pd.DataFrame"


def files(raw_dir: str) -> list[str]:
    """Return the paths of the files below a raw directory."""
    return [join(raw_dir, DIRECTORY, name) for name in _FILES]


def read(storage: Storage, raw_dir: str) -> AmazonGoogle:
    """Read the three files.

    Raises:
        InputError: a file is missing, is no CSV, or lacks a column; a mapped product is not in its table.
    """
    amazon, google, mapping = (
        _read_csv(storage, join(raw_dir, DIRECTORY, name), columns) for name, columns in _FILES.items()
    )
    google = google.rename(columns={"name": "title"})
    for column, table, name in (("idAmazon", amazon, "Amazon.csv"), ("idGoogleBase", google, "GoogleProducts.csv")):
        unknown = mapping.loc[~mapping[column].isin(table["id"]), column]
        if len(unknown):
            raise InputError(
                f"{files(raw_dir)[-1]}: mapping row {unknown.index[0]}: {column} {short_repr(unknown.iloc[0])} "
                f"is not in {name}"
            )
    return AmazonGoogle(amazon, google, mapping)


def _read_csv(storage: Storage, path: str, columns: tuple[str, ...]) -> "pd.DataFrame":
    import pandas as pd  # half a second to load, and every job imports this module

    text = storage.read_bytes(path).decode("utf-8", errors="replace")
    try:
        table = pd.read_csv(io.StringIO(text))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InputError(f"{path} is not a readable CSV file: {str(error).strip()}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        has = short_text(", ".join(map(str, table.columns)), _MOST_SHOWN)
        raise InputError(f"{path} has no column {', '.join(missing)}; it has {has}")
    return table[list(columns)]
