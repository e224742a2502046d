"""Product Matching: do two listings, of Amazon and of Google Shopping, show the same product?"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ecellm.errors import InputError
from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.example import Example, Splits

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


def build_examples(tables: "AmazonGoogle") -> Splits:
    """Build the examples of PM row for row as in the release, by split.

    Positives are the mapped pairs in mapping order; a pair is two rendered products, and one seen before, either way
    round, is skipped. Negatives, as many: both tables shuffled by pandas (random_state 1), the shuffled Amazon rows
    walked, each with the shuffled Google row at the position equal to the Amazon row's original index. Then
    scikit-learn's train_test_split, 80/20, and the 20 halved.

    Raises:
        InputError: there are too few pairs to split.
    """
    # scikit-learn takes a second to load, and only builds need it.
    from sklearn.model_selection import train_test_split

    pairs = _positives(tables)
    examples = [*pairs.values(), *_negatives(tables, set(pairs), len(pairs))]
    if len(examples) < _FEWEST_EXAMPLES:
        raise InputError(
            f"the Amazon-Google files give {len(examples)} pairs, too few to split: {len(tables.amazon)} and "
            f"{len(tables.google)} products, {len(tables.mapping)} mappings"
        )
    train, rest = train_test_split(examples, test_size=0.2, random_state=_SPLIT_SEED)
    val, test = train_test_split(rest, test_size=0.5, random_state=_SPLIT_SEED)
    return {"train": train, "val": val, "test": test}


def _positives(tables: "AmazonGoogle") -> dict[tuple[str, str], Example]:
    amazon, google = _by_id(tables.amazon), _by_id(tables.google)
    pairs: dict[tuple[str, str], Example] = {}
    for amazon_id, google_id in zip(tables.mapping["idAmazon"], tables.mapping["idGoogleBase"], strict=True):
        pair = (render_product(amazon[amazon_id]), render_product(google[google_id]))
        if pair not in pairs and pair[::-1] not in pairs:
            pairs[pair] = _example(pair, "yes", (amazon_id, google_id))
    return pairs


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _by_id(table: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in _records(table)}


def _negatives(tables: "AmazonGoogle", used: set[tuple[str, str]], number: int) -> Iterator[Example]:
    amazon = tables.amazon.sample(frac=1, random_state=_SPLIT_SEED)
    google = _records(tables.google.sample(frac=1, random_state=_SPLIT_SEED))
    made = 0
    for original_index, product in zip(amazon.index, _records(amazon), strict=True):
        if made == number or original_index >= len(google):
            continue
        other = google[original_index]
        pair = (render_product(product), render_product(other))
        if pair in used or pair[::-1] in used:
            continue
        used.add(pair)
        made += 1
        yield _example(pair, "no", (product["id"], other["id"]))


def _example(pair: tuple[str, str], answer: str, ids: tuple[str, str]) -> Example:
    text = f'{{"product 1": {pair[0]}, "product 2": {pair[1]}}}'
    return Example(input=text, output=answer, source="amazon_google", source_ids=ids)
