"""Made-up shoppers' queries: rows of the Shopping Queries examples.

A query names a wish and a product type, beside words that have no say: "a premium red kettle for pilots at home". The
ESCI label of a product of that type follows from its grade and the wish, as in `synthetic_world`. Products are chosen
so that a query has as many different labels as the catalogue has to give. No two queries have the same text.

Quirks of the real file, with their rates: rows of other locales 8 % (their labels are random), an English locale with
a query in Spanish or Japanese 1 %, queries outside the small version 20 %.
"""

import math
from typing import Any

import numpy as np

from ecellm.sources.synthetic_catalogue import Catalogue, Draws
from ecellm.sources.synthetic_products import LOCALE_STRIDES
from ecellm.sources.synthetic_words import PEOPLE, PURPOSES
from ecellm.sources.synthetic_world import COLORS, ESCI, GAPS, WISHES, WORDS_PER_VALUE

_NUM_CANDIDATES = 64
_MOST_PRODUCTS = 12
_LABELS_BY_GAP = "ICSE"
_GAP_STARTS = [GAPS[label][0] for label in _LABELS_BY_GAP[1:]]
# A prime that divides no number of queries: stepping by it visits every combination of words once.
_STEP = 1_000_003
_FOREIGN_QUERIES = {
    "es": "busco un regalo barato para la familia número {}",
    "jp": "家庭用 高級 贈り物 {}",
}


def num_different_queries(catalogues: list[Catalogue]) -> int:
    """Return how many queries with different texts there are for these categories."""
    num_types = sum(len(catalogue.types) for catalogue in catalogues)
    return len(WISHES) * num_types * len(COLORS) * len(PEOPLE) * len(PURPOSES)


def example_rows(catalogues: list[Catalogue], queries: range, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the examples of a block of queries.

    Args:
        catalogues: the products of all categories.
        queries: the numbers of the queries.
        rng: draws everything but the queries' words.

    Returns:
        Rows with the columns of the examples file; a query's rows stand together.
    """
    draws = Draws(rng)
    return [row for query in queries for row in _rows_of_query(catalogues, query, draws, rng)]


def _rows_of_query(
    catalogues: list[Catalogue], query: int, draws: Draws, rng: np.random.Generator
) -> list[dict[str, Any]]:
    catalogue, type_place, wish, text = _query(catalogues, query)
    locale = "us" if draws.chance(0.92) else draws.pick(tuple(LOCALE_STRIDES))
    if locale != "us" or draws.chance(0.01):
        text = _FOREIGN_QUERIES[locale if locale != "us" else draws.pick(tuple(_FOREIGN_QUERIES))].format(query)
    num_products = 4 + draws.below(_MOST_PRODUCTS - 3)
    if locale == "us":
        numbers, labels = _labelled(catalogue, type_place, wish, num_products, rng)
    else:
        numbers = np.arange(0, catalogue.num_products, LOCALE_STRIDES[locale])
        numbers = rng.permutation(numbers)[:num_products]
        labels = [draws.pick(ESCI) for _ in numbers]
    split = "train" if draws.chance(0.75) else "test"
    small_version = int(draws.chance(0.8))
    return [
        {
            "example_id": query * _MOST_PRODUCTS + place,
            "query": text,
            "query_id": query,
            "product_id": asin,
            "product_locale": locale,
            "esci_label": label,
            "small_version": small_version,
            "large_version": 1,
            "split": split,
        }
        for place, (asin, label) in enumerate(zip(catalogue.asins(numbers), labels, strict=True))
    ]


def _query(catalogues: list[Catalogue], query: int) -> tuple[Catalogue, int, str, str]:
    """Return catalogue, place of the type, wish and text of a query: its number read as digits of mixed base."""
    total = num_different_queries(catalogues)
    assert math.gcd(_STEP, total) == 1
    rest = query * _STEP % total
    words = []
    for values in (WISHES, COLORS, PEOPLE, PURPOSES):
        rest, digit = divmod(rest, len(values))
        words.append(values[digit])
    wish, color, people, purpose = words
    for catalogue in catalogues:
        if rest < len(catalogue.types):
            break
        rest -= len(catalogue.types)
    return catalogue, rest, wish, f"a {wish} {color} {catalogue.types[rest][1]} for {people} {purpose}"


def _labelled(
    catalogue: Catalogue, type_place: int, wish: str, num_products: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Return the numbers of different products of a type and their labels, as mixed as can be."""
    every = catalogue.numbers_of_type(type_place)
    numbers = np.unique(every[rng.integers(len(every), size=_NUM_CANDIDATES)])
    numbers = rng.permutation(numbers)
    gaps = catalogue.grades(numbers) - WISHES.index(wish) // WORDS_PER_VALUE
    labels = np.searchsorted(_GAP_STARTS, gaps, side="right")
    rank_in_label = np.zeros(len(numbers), dtype=np.int64)
    for label in range(len(_LABELS_BY_GAP)):
        rank_in_label[labels == label] = np.arange((labels == label).sum())
    chosen = rng.permutation(np.argsort(rank_in_label, kind="stable")[:num_products])
    return numbers[chosen], [_LABELS_BY_GAP[label] for label in labels[chosen]]
