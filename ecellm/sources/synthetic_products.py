"""Metadata of made-up products: lines of Amazon Review 2018 and 2014, and rows of the Shopping Queries products.

Which relation two products have is a function of their titles, as in `product_relation_prediction`: of the sorted
titles, where the second product is finer by two grades or more it is bought too (also_buy), where it is plainer by as
much it is viewed (also_view), else the two are similar (similar_item). A related product lies in the same block.

Quirks of the real files, with their rates:

    2018   repeated asin, the last differs 2 %; no title 1 %; empty title 2 %; no brand 4 % (2014 has both);
           HTML entity in the title 3 %, markup around it 0.5 %, nothing but cut markup 0.5 %; `rank` a text 60 %,
           else a list; a related id that does not exist 3 %, the product's own id 1 %, a pair in two relations 1 %;
           quotes, commas and letters outside ASCII in descriptions 5 %; similar_item as HTML
    2014   a Python dict literal a line; `categories`, a list of lists; 3 % of the products are not in it
    Shopping Queries   `<br>` in the title 2 %, no title 0.5 %, a Spanish or Japanese title 0.5 % each; some
           products are also in the locales es and jp
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ecellm.sources.synthetic_catalogue import Catalogue, CatalogueProduct, Draws
from ecellm.sources.synthetic_words import ATTRIBUTES, CATEGORIES, JUNK_TITLE
from ecellm.sources.synthetic_world import GRADE_STEPS

# One product in 29 is sold in Spain too, one in 31 in Japan.
LOCALE_STRIDES = {"es": 29, "jp": 31}
_RELATIONS = ("also_buy", "also_view", "similar_item")
_MOST_RELATED = 13
_FLOURISH = 'The maker calls it "très chic", from Zürich, for <b>all</b>, & says: "why not?"'
# Where the titles' quirks lie among the hashes of a product, modulo 1000.
_TITLE_QUIRKS = (("missing", 10), ("empty", 30), ("entity", 60), ("markup", 65), ("junk", 70))


def title_2018(product: CatalogueProduct, quirk: str) -> str | None:
    """Return the title as the 2018 metadata has it; None where it has none."""
    if quirk in ("missing", "empty", "junk"):
        return {"missing": None, "empty": "", "junk": JUNK_TITLE}[quirk]
    if quirk == "entity":
        return product.title.replace(",", " &amp; cover,")
    return f"<b>{product.title}</b>" if quirk == "markup" else product.title


def description(product: CatalogueProduct) -> str:
    """Return what the shop says of a product; attributes that are not told here are told by its features."""
    phrases = [ATTRIBUTES[name][0].format(value) for name, value in product.told[:2]]
    return f"this {product.product.product_type} by {product.maker}. {'. '.join(phrases)}."


def features(product: CatalogueProduct) -> list[str]:
    """Return the product's bullet points."""
    return [ATTRIBUTES[name][0].format(value) for name, value in product.told[2:]]


def relation(first: tuple[str, int], second: tuple[str, int]) -> str:
    """Return the relation of two products, given the title and grade of each."""
    (_, plain), (_, fine) = sorted((first, second))
    return next(name for name, (low, high) in zip(_RELATIONS, GRADE_STEPS, strict=True) if low <= fine - plain <= high)


def metadata_lines(catalogue: Catalogue, numbers: np.ndarray, rng: np.random.Generator) -> dict[int, list[str]]:
    """Return the lines of a block of products.

    Args:
        catalogue: the products.
        numbers: the products of the block.
        rng: draws relations and quirks.

    Returns:
        Lines by year of the metadata: 2018 (JSON) and 2014 (Python literals).
    """
    draws = Draws(rng)
    products = catalogue.products(numbers)
    quirks = [_title_quirk(value) for value in (catalogue.hashes("title", numbers) % 1000).tolist()]
    titles = [title_2018(product, quirk) for product, quirk in zip(products, quirks, strict=True)]
    known = [(title or product.title, product.grade) for title, product in zip(titles, products, strict=True)]
    unknown = catalogue.asins(catalogue.num_products + numbers)
    lines_2018, lines_2014 = [], []
    for place, (product, title) in enumerate(zip(products, titles, strict=True)):
        related = _related(draws, place, known, products, unknown)
        record = _record_2018(draws, catalogue, product, title, related)
        if draws.chance(0.02):
            stale = record | {"title": f"Old {product.title}", "also_buy": [], "price": ""}
            lines_2018.append(json.dumps(stale))
        lines_2018.append(json.dumps(record))
        if not draws.chance(0.03) or not title or not record["brand"]:
            lines_2014.append(repr(_record_2014(draws, catalogue, product, related)))
    return {2018: lines_2018, 2014: lines_2014}


def shopping_products(catalogue: Catalogue, numbers: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return rows of the Shopping Queries products: each product in English, some in Spanish and Japanese too."""
    draws = Draws(rng)
    rows = []
    for product in catalogue.products(numbers):
        told = dict(product.told)
        row = {
            "product_id": product.asin,
            "product_title": _shopping_title(draws, product),
            "product_description": description(product) if draws.chance(0.8) else None,
            "product_bullet_point": "\n".join(features(product)) if draws.chance(0.8) else None,
            "product_brand": product.maker,
            "product_color": told.get("Color"),
            "product_locale": "us",
        }
        rows.append(row)
        for locale, stride in LOCALE_STRIDES.items():
            if product.number % stride == 0:
                rows.append(row | {"product_title": _foreign_title(product, locale), "product_locale": locale})
    return rows


def _title_quirk(value: int) -> str:
    return next((quirk for quirk, end in _TITLE_QUIRKS if value < end), "")


def _related(
    draws: Draws,
    place: int,
    known: Sequence[tuple[str, int]],
    products: Sequence[CatalogueProduct],
    unknown: Sequence[str],
) -> dict[str, list[str]]:
    """Draw the products that one is related to, by relation."""
    related: dict[str, list[str]] = {name: [] for name in _RELATIONS}
    for _ in range(draws.below(_MOST_RELATED)):
        other = draws.below(len(products))
        fate = draws.uniform()
        if fate < 0.03:
            related[draws.pick(_RELATIONS)].append(unknown[other])
        elif fate < 0.04 or other == place:
            related["also_view"].append(products[place].asin)
        else:
            name = relation(known[place], known[other])
            related[name].append(products[other].asin)
            if fate < 0.05:
                related[draws.pick(_RELATIONS)].append(products[other].asin)
    return related


def _similar_item(asins: Sequence[str]) -> str:
    """Return the HTML of a comparison table; readers split it at the word `asin`."""
    if not asins:
        return ""
    cells = "".join(
        f'<td><a href="/gp/product?asin={asin}&amp;ref=psdc"><img alt="" data-hook="lazy"></a></td>' for asin in asins
    )
    return f' class="a-bordered a-horizontal-stripes a-spacing-none"><tr><th>Compare</th>{cells}</tr>'


def _record_2018(
    draws: Draws,
    catalogue: Catalogue,
    product: CatalogueProduct,
    title: str | None,
    related: dict[str, list[str]],
) -> dict[str, Any]:
    """Return the 2018 metadata of a product; without the key `title` where the title is None."""
    level = CATEGORIES[catalogue.category].level
    text = description(product)
    rank = f"{draws.below(900) + 1},{draws.below(900) + 100} in {level} ("
    record = {
        "category": [level, product.level, product.product.product_type.title()],
        "tech1": "",
        "description": [f"{text} {_FLOURISH}"] if draws.chance(0.05) else [text],
        "fit": "",
        "title": title,
        "also_buy": related["also_buy"],
        "tech2": "",
        "brand": "" if draws.chance(0.04) else product.maker,
        "feature": features(product),
        "rank": rank if draws.chance(0.6) else [f">#{rank}"] * draws.below(3),
        "also_view": related["also_view"],
        "details": {"Shipping Weight:": f"{draws.below(90) + 1} ounces", "ASIN: ": product.asin},
        "main_cat": level,
        "similar_item": _similar_item(related["similar_item"]),
        "date": "",
        "price": f"${draws.below(200) + 1}.{draws.below(90) + 10}" if draws.chance(0.7) else "",
        "asin": product.asin,
    }
    if title is None:
        del record["title"]
    return record


def _record_2014(
    draws: Draws, catalogue: Catalogue, product: CatalogueProduct, related: dict[str, list[str]]
) -> dict[str, Any]:
    level = CATEGORIES[catalogue.category].level.replace("&amp;", "&")
    return {
        "asin": product.asin,
        "related": {"also_bought": related["also_buy"], "also_viewed": related["also_view"]},
        "title": product.title,
        "price": (draws.below(20000) + 100) / 100,
        "salesRank": {level: draws.below(100_000)},
        "brand": product.maker,
        "categories": [[level, product.level]],
        "description": f'{product.maker}\'s own {product.product.product_type}, "{product.model}".',
    }


def _shopping_title(draws: Draws, product: CatalogueProduct) -> str | None:
    fate = draws.uniform()
    if fate < 0.005:
        return None
    if fate < 0.015:
        return _foreign_title(product, "es" if fate < 0.01 else "jp")
    return product.title.replace(",", "<br>") if fate < 0.035 else product.title


def _foreign_title(product: CatalogueProduct, locale: str) -> str:
    if locale == "jp":
        return f"{product.maker} 高級 {product.model} 家庭用 新品 送料無料"
    return f"{product.maker} {product.model}, el mejor regalo para toda la familia, hecho con cuidado en España"
