"""Made-up attribute values with their evidences: lines of MAVE.

The paragraphs are the product's title, description and features, as its metadata has them; an evidence is the place of
a value in a paragraph. Positives ask for attributes that the texts tell, negatives for attributes that they do not.

Quirks of the real files, with their rates: values told twice (the brand always, the material of 30 %), several
paragraphs of one source (features), and sources brand 30 % and price 20 %.
"""

import json
import re
from typing import Any

import numpy as np

from ecellm.sources.synthetic_catalogue import Catalogue, CatalogueProduct, Draws
from ecellm.sources.synthetic_products import description, features
from ecellm.sources.synthetic_words import ATTRIBUTES, TITLE_ATTRIBUTES


def extraction_lines(
    catalogues: list[Catalogue], num_rows: int, rng: np.random.Generator, *, are_positive: bool
) -> list[str]:
    """Return a block of rows about products of all categories, each as likely as the others.

    Args:
        catalogues: the products of all categories.
        num_rows: how many rows.
        rng: draws everything.
        are_positive: whether the attributes asked for have evidences.

    Returns:
        JSON lines.
    """
    draws = Draws(rng)
    places = rng.integers(len(catalogues), size=num_rows)
    sizes = np.array([catalogue.num_products for catalogue in catalogues])
    numbers = (rng.random(num_rows) * sizes[places]).astype(np.int64)
    lines: list[str] = [""] * num_rows
    for place, catalogue in enumerate(catalogues):
        rows = np.flatnonzero(places == place)
        for row, product in zip(rows.tolist(), catalogue.products(numbers[rows]), strict=True):
            lines[row] = json.dumps(_row(draws, product, is_positive=are_positive))
    return lines


def _row(draws: Draws, product: CatalogueProduct, *, is_positive: bool) -> dict[str, Any]:
    told = {"Brand": product.maker, "Finish": product.product.finish, "Material": product.product.material}
    told |= dict(product.told)
    paragraphs = _paragraphs(draws, product)
    if is_positive:
        asked = draws.sample(tuple(told), draws.pick((1, 1, 2, 3)))
        attributes = [{"key": key, "evidences": _evidences(told[key], paragraphs)} for key in asked]
    else:
        missing = [name for name in (*TITLE_ATTRIBUTES, *ATTRIBUTES) if name not in told]
        attributes = [{"key": key, "evidences": []} for key in draws.sample(missing, draws.pick((1, 1, 2)))]
    return {
        "id": product.asin,
        "category": product.product.product_type.title(),
        "paragraphs": paragraphs,
        "attributes": attributes,
    }


def _paragraphs(draws: Draws, product: CatalogueProduct) -> list[dict[str, str]]:
    bullets = features(product)
    if draws.chance(0.3):
        bullets.append(f"all of it is {product.product.material}")
    paragraphs = [{"text": product.title, "source": "title"}, {"text": description(product), "source": "description"}]
    paragraphs += [{"text": text, "source": "feature"} for text in bullets]
    if draws.chance(0.2):
        paragraphs.append({"text": f"${draws.below(200) + 1}.99", "source": "price"})
    if draws.chance(0.3):
        paragraphs.append({"text": product.maker, "source": "brand"})
    return paragraphs


def _evidences(value: str, paragraphs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the first place of a value in each paragraph that has it."""
    whole_words = re.compile(rf"\b{re.escape(value)}\b")
    places = [(place, whole_words.search(paragraph["text"])) for place, paragraph in enumerate(paragraphs)]
    return [
        {"value": value, "pid": place, "begin": match.start(), "end": match.end()} for place, match in places if match
    ]
