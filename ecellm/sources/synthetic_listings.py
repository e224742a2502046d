"""Shop listings of the made-up world, and the raw Amazon-Google-like files with the quirks of the real benchmark.

The files are CRLF and latin-1, texts are quoted and numbers are not, descriptions and most of Google's manufacturers
are missing, and some of Google's prices hold text.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecellm.sources.synthetic_world import FINISHES, MATERIALS, World

# Makers of software-shop-like listings; one name is not ASCII, as in the real files.
_MAKERS = ("acme", "borel", "cavo", "delmar", "elko", "café")
_FEED = "http://www.google.com/base/feeds/snippets/"
Listing = Mapping[str, str | float | None]
Cell = str | float | None


class ListedProduct(NamedTuple):
    """What two shops' listings of one product agree on."""

    maker: str
    finish: str
    material: str
    product_type: str
    number: int
    price: float


def draw_listing(world: World) -> ListedProduct:
    """Draw a product that shops list."""
    return ListedProduct(
        world.pick(_MAKERS),
        world.pick(FINISHES),
        world.pick(MATERIALS),
        world.product_type(),
        int(world.rng.integers(10, 100)),
        round(int(world.rng.integers(5, 100)) - (0.05 if world.chance(0.5) else 0.0), 2),
    )


def amazon_listing(world: World, product: ListedProduct) -> Listing:
    """Return the product's listing in the style of Amazon: title, description, manufacturer, price."""
    title = f"{product.maker} {product.finish} {product.material} {product.product_type} {product.number}"
    has_description = world.chance(0.5)
    return {
        "title": world.padded(title),
        "description": f"a {product.finish} {product.product_type}" if has_description else None,
        "manufacturer": product.maker,
        "price": float(product.price) if world.chance(0.9) else 0.0,
    }


def google_listing(world: World, product: ListedProduct) -> Listing:
    """Return the product's listing in the style of Google: other words order, prices as text."""
    title = f"new {product.finish} {product.product_type} {product.number} {product.maker}"
    price = f"{product.price + 1:g}" + (" gbp" if world.chance(0.1) else "")
    return {
        "title": world.padded(title),
        "description": f"{product.material} {product.product_type}" if world.chance(0.5) else None,
        "manufacturer": product.maker if world.chance(0.2) else None,
        "price": price,
    }


def write_amazon_google(directory: str | Path, *, seed: int = 1, num_products: int = 600) -> dict[str, int]:
    """Write `Amazon.csv`, `GoogleProducts.csv` and `Amzon_GoogleProducts_perfectMapping.csv`.

    Google lists twice as many products as Amazon does, as the real negatives need; all of Amazon's are among them.

    Args:
        directory: where the three files go; made if need be.
        seed: fixes every byte.
        num_products: rows of Amazon.csv, and of the mapping.

    Returns:
        The number of rows of each file.
    """
    world = World(np.random.default_rng([seed, num_products]))
    products = [draw_listing(world) for _ in range(2 * num_products)]
    amazon_ids = [f"b{number:09d}" for number in range(num_products)]
    google_ids = [f"{_FEED}{10**19 + number}" for number in range(2 * num_products)]
    places = [int(place) for place in world.rng.permutation(2 * num_products)]
    amazon = [amazon_listing(world, product) for product in products[:num_products]]
    google = [google_listing(world, products[place]) for place in places]
    google_id_of = {place: google_ids[row] for row, place in enumerate(places)}
    tables: dict[str, tuple[tuple[str, ...], list[tuple[Cell, ...]]]] = {
        "Amazon.csv": (_columns("title"), _rows(amazon_ids, amazon)),
        "GoogleProducts.csv": (_columns("name"), _rows(google_ids, google)),
        "Amzon_GoogleProducts_perfectMapping.csv": (
            ("idAmazon", "idGoogleBase"),
            [(amazon_ids[place], google_id_of[place]) for place in range(num_products)],
        ),
    }
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    for name, (columns, rows) in tables.items():
        _write_csv(root / name, columns, rows)
    return {name: len(rows) for name, (_, rows) in tables.items()}


def _columns(title: str) -> tuple[str, ...]:
    return ("id", title, "description", "manufacturer", "price")


def _rows(ids: Iterable[str], listings: Iterable[Listing]) -> list[tuple[Cell, ...]]:
    return [(row_id, *listing.values()) for row_id, listing in zip(ids, listings, strict=True)]


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[tuple[Cell, ...]]) -> None:
    lines = [",".join(_cell(cell) for cell in row) for row in (tuple(columns), *rows)]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("latin-1"))


def _cell(value: Cell) -> str:
    """Write a cell: nothing for a missing one, quotes around text that is no number."""
    if value is None:
        return ""
    text = f"{value:g}" if isinstance(value, float) else value
    is_number = text.replace(".", "", 1).isdigit()
    return text if is_number else '"' + text.replace('"', '""') + '"'
