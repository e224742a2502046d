"""Product Matching: do two listings, of Amazon and of Google Shopping, show the same product?"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ecellm.errors import InputError
from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.example import Example

if TYPE_CHECKING:
    import pandas as pd

    from ecellm.sources.amazon_google import AmazonGoogle

TASK = BinaryTask(
    name="Product_Matching",
    short_name="PM",
    description="Are two product listings of different shops the same product? (yes, no)",
)
_MAX_DESCRIPTION_WORDS = 50
_SPLIT_SEED = 1
_FEWEST_EXAMPLES = 10
_MOST_SIMILAR = 20
Pair = tuple[str, str]


def render_product(product: Mapping[str, Any]) -> str:
    """Return a product as the JSON object that a sample shows.

    A missing description stays NaN (bare `NaN` in the JSON); manufacturer and price go through str(), so that a missing
    one is the text "nan" and a price of a float column reads "95.0". Source: ecinstruct's construction rules for PM.

    Args:
        product: title, description, manufacturer, price as pandas reads them.
    """
    description = product["description"]
    if isinstance(description, str):
        description = _shortened(description)
    return json.dumps(
        {
            "title": product["title"],
            "description": description,
            "manufacturer": str(product["manufacturer"]),
            "price": str(product["price"]),
        }
    )


def _shortened(description: str) -> str:
    words = description.split(" ")
    if len(words) <= _MAX_DESCRIPTION_WORDS:
        return description
    return " ".join(words[:_MAX_DESCRIPTION_WORDS]).strip(".") + "..."


def build_examples(tables: "AmazonGoogle", *, hard_negatives: bool = False) -> dict[str, Sequence[Example]]:
    """Build the examples of PM row for row as in the release, by split.

    Positives are the mapped pairs in mapping order; a pair is two rendered products, and one seen before, either way
    round, is skipped. Negatives, as many: both tables shuffled by pandas (random_state 1), the shuffled Amazon rows
    walked, each with the shuffled Google row at the position equal to the Amazon row's original index. Then
    scikit-learn's train_test_split, 80/20, and the 20 halved.

    Args:
        tables: the raw tables.
        hard_negatives: take as negatives not random pairs but, for each Amazon product in the same shuffled order, the
            Google products with the most similar titles that do not match it.

    Raises:
        InputError: there are too few pairs to split.
    """
    # scikit-learn takes a second to load, and only builds need it.
    from sklearn.model_selection import train_test_split

    pairs = _positives(tables)
    candidates = _similar_pairs(tables) if hard_negatives else _random_pairs(tables)
    examples = [*pairs.values(), *_negatives(candidates, set(pairs), len(pairs))]
    if len(examples) < _FEWEST_EXAMPLES:
        raise InputError(
            f"the Amazon-Google files give {len(examples)} pairs, too few to split: {len(tables.amazon)} and "
            f"{len(tables.google)} products, {len(tables.mapping)} mappings"
        )
    train, rest = train_test_split(examples, test_size=0.2, random_state=_SPLIT_SEED)
    val, test = train_test_split(rest, test_size=0.5, random_state=_SPLIT_SEED)
    return {"train": train, "val": val, "test": test}


def _positives(tables: "AmazonGoogle") -> dict[Pair, Example]:
    amazon, google = _by_id(tables.amazon), _by_id(tables.google)
    pairs: dict[Pair, Example] = {}
    for amazon_id, google_id in zip(tables.mapping["idAmazon"], tables.mapping["idGoogleBase"], strict=True):
        pair = (render_product(amazon[amazon_id]), render_product(google[google_id]))
        if pair not in pairs and pair[::-1] not in pairs:
            pairs[pair] = _example(pair, "yes", (amazon_id, google_id))
    return pairs


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _by_id(table: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in _records(table)}


def _random_pairs(tables: "AmazonGoogle") -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the pairs that the release draws its negatives from."""
    amazon = tables.amazon.sample(frac=1, random_state=_SPLIT_SEED)
    google = _records(tables.google.sample(frac=1, random_state=_SPLIT_SEED))
    for original_index, product in zip(amazon.index, _records(amazon), strict=True):
        if original_index < len(google):
            yield product, google[original_index]


def _similar_pairs(tables: "AmazonGoogle") -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield, most similar first, the pairs of titles that do not match: a pair of each Amazon product, then a second.

    Similarity is the cosine of TF-IDF vectors of the titles' character 3- to 5-grams.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    amazon = _records(tables.amazon.sample(frac=1, random_state=_SPLIT_SEED))
    google = _records(tables.google)
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5))
    google_vectors = vectorizer.fit_transform([str(product["title"]) for product in google])
    amazon_vectors = vectorizer.transform([str(product["title"]) for product in amazon])
    scores = (amazon_vectors @ google_vectors.T).toarray()
    order = (-scores).argsort(axis=1, kind="stable")[:, :_MOST_SIMILAR]
    matching = set(zip(tables.mapping["idAmazon"], tables.mapping["idGoogleBase"], strict=True))
    for place in range(order.shape[1]):
        for row, product in enumerate(amazon):
            other = google[order[row, place]]
            if (product["id"], other["id"]) not in matching:
                yield product, other


def _negatives(
    candidates: Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]], used: set[Pair], number: int
) -> Iterator[Example]:
    """Yield the first `number` pairs that were not used before, either way round."""
    made = 0
    for product, other in candidates:
        if made == number:
            return
        pair = (render_product(product), render_product(other))
        if pair in used or pair[::-1] in used:
            continue
        used.add(pair)
        made += 1
        yield _example(pair, "no", (product["id"], other["id"]))


def _example(pair: Pair, answer: str, ids: tuple[str, str]) -> Example:
    text = f'{{"product 1": {pair[0]}, "product 2": {pair[1]}}}'
    return Example(input=text, output=answer, source_ids=ids)
