"""Examples of the ten tasks from the made-up world, in the release's text formats.

What decides the answers (nothing here can be read off one word):

    AVE        which attribute is asked, and where the product text has it
    PRP        which of the two products has the higher grade, if any
    PM         whether two listings share brand, finish, material and type
    SA         how many of four remarks praise, where "not" turns a remark round
    SR         the option of the brand that the whole history has
    MPC, PSI   the product's grade against the query's wish
    QPR        the same for each candidate
    AP, AG     whether, and with what, the document speaks of what is asked
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ecellm.sources.synthetic_listings import amazon_listing, draw_listing, google_listing
from ecellm.sources.synthetic_world import (
    ASPECTS,
    BLAME,
    BRANDS,
    CATALOGUE,
    COLORS,
    ESCI,
    GRADE_STEPS,
    MATERIALS,
    NEGATED_SHARE,
    PRAISE,
    SIZES,
    TOPICS,
    WISHES,
    World,
    draw_match,
    draw_product,
)
from ecellm.tasks.example import Example

LETTERS = "ABCDEFGHIJKLMNOPQRST"
YES_SHARE = 0.4
_ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "IND": {"Brand": BRANDS, "Color": COLORS, "Material": MATERIALS, "Size": SIZES},
    "OOD": {
        "Shape": ("round", "square", "oval", "flat"),
        "Pattern": ("striped", "dotted", "plain", "checked"),
        "Season": ("summer", "winter", "spring", "autumn"),
        "Origin": ("Danish", "Welsh", "Greek", "Swiss"),
    },
}
_ORDINALS = ("1st", "2nd", "3rd", "4th")
_NUM_CANDIDATES = 20


def attribute_value_extraction(world: World, _options: list[str]) -> Example:
    """AVE: a title with two attributes, a description with a third; one attribute is asked, at times two."""
    attributes = _ATTRIBUTES[world.domain]
    names = world.sample(tuple(attributes), 4)
    values = {name: world.pick(attributes[name]) for name in names}
    product_type = world.product_type()
    texts = {
        "product title": f"new {values[names[0]]} {values[names[1]]} {product_type}",
        "product description": f"this {values[names[2]]} {product_type} is number {world.rng.integers(100)}",
    }
    asked = world.sample(tuple(names[:3]), 2 if world.chance(0.15) else 1)
    if world.chance(0.1):
        asked[-1] = names[3]
    sources = dict(zip(names, ("product title", "product title", "product description"), strict=False))
    found = [
        {"attribute": name.lower(), "value": values[name].lower(), "source": sources[name]}
        if name in sources
        else {"attribute": name.lower(), "value": "None", "source": "None"}
        for name in asked
    ]
    texts = {name: world.padded(text) for name, text in texts.items()} | {"target attributes": " and ".join(asked)}
    return Example(json.dumps(texts), json.dumps(found))


def product_relation_prediction(world: World, options: list[str]) -> Example:
    """PRP: products of about one grade are similar (C); a finer second one is bought too, a plainer one viewed."""
    answer = int(world.rng.integers(len(options)))
    low, high = GRADE_STEPS[answer]
    while True:
        products = sorted((draw_product(world), draw_product(world)), key=lambda product: product.title)
        if low <= products[1].grade - products[0].grade <= high:
            break
    titles = [world.padded(product.title) for product in products]
    text = json.dumps({"Product 1:": titles[0], "Product 2:": titles[1]})
    return Example(text, LETTERS[answer], options=json.dumps(options))


def product_matching(world: World, _options: list[str]) -> Example:
    """PM: two listings of one product, or of two drawn apart from each other."""
    is_match = world.chance(YES_SHARE)
    first = draw_listing(world)
    amazon = amazon_listing(world, first)
    google = google_listing(world, first if is_match else draw_listing(world))
    text = json.dumps({"product 1": _as_pandas_reads(amazon), "product 2": _as_pandas_reads(google)})
    return Example(text, "yes" if is_match else "no")


def _as_pandas_reads(listing: Mapping[str, str | float | None]) -> dict[str, Any]:
    """Return a listing as the benchmark's rows show it: a missing description stays NaN, other values become text."""
    description = float("nan") if listing["description"] is None else listing["description"]
    others = {name: "nan" if listing[name] is None else str(listing[name]) for name in ("manufacturer", "price")}
    return {"title": listing["title"], "description": description, **others}


def sentiment_analysis(world: World, options: list[str]) -> Example:
    """SA: four remarks, none to four of them praise; some say it with "not" and the opposite word."""
    answer = int(world.rng.integers(len(options)))
    num_praises = len(options) - 1 - answer
    order = world.rng.permutation(4)
    remarks = []
    for place, aspect in zip(order, world.sample(ASPECTS, 4), strict=True):
        is_negated, is_praise = world.chance(NEGATED_SHARE), place < num_praises
        word = world.pick(PRAISE if is_praise != is_negated else BLAME)
        remarks.append(f"the {aspect} is {'not' if is_negated else 'so'} {word}")
    review = f"my {world.product_type()} came. {', '.join(remarks)}."
    return Example(world.padded(review), options[answer], options=json.dumps(options))


def _bought_item(world: World, brand: str) -> str:
    category = world.category()
    product_type = world.pick(CATALOGUE[world.domain][category])
    return world.padded(f"{world.pick(COLORS)} {product_type}. {category}. {brand}.")


def sequential_recommendation(world: World, _options: list[str]) -> Example:
    """SR: the shopper is loyal to a brand; one of the twenty options is of that brand."""
    brand = world.pick(BRANDS)
    others = tuple(other for other in BRANDS if other != brand)
    answer = int(world.rng.integers(_NUM_CANDIDATES))
    history = [_bought_item(world, brand) for _ in range(int(world.rng.integers(2, 5)))]
    candidates = [
        _bought_item(world, brand if place == answer else world.pick(others)) for place in range(_NUM_CANDIDATES)
    ]
    purchases = [f"{ordinal}: {item}" for ordinal, item in zip(_ORDINALS, history, strict=False)]
    options = [f"{letter}: {item}" for letter, item in zip(LETTERS, candidates, strict=True)]
    return Example(repr(purchases), LETTERS[answer], options=repr(options))


def _query(wish: str, product_type: str) -> str:
    return f"a {wish} {product_type}"


def multiclass_product_classification(world: World, options: list[str]) -> Example:
    """MPC: the ESCI label of a query and a title."""
    answer = int(world.rng.integers(len(options)))
    wish, product_type = world.pick(WISHES), world.product_type()
    title = world.padded(draw_match(world, wish, ESCI[answer], product_type).title)
    text = json.dumps({"query": _query(wish, product_type), "product title": title})
    return Example(text, options[answer], options=json.dumps(options))


def product_substitute_identification(world: World, _options: list[str]) -> Example:
    """PSI: is the ESCI label S?"""
    is_substitute = world.chance(YES_SHARE)
    label = "S" if is_substitute else world.pick(("E", "C", "I"))
    wish, product_type = world.pick(WISHES), world.product_type()
    title = world.padded(draw_match(world, wish, label, product_type).title)
    text = json.dumps({"query": _query(wish, product_type), "product": title})
    return Example(text, "yes" if is_substitute else "no")


def query_product_ranking(world: World, _options: list[str]) -> Example:
    """QPR: two to four products of one type with different ESCI labels for a query."""
    labels = world.sample(ESCI, int(world.rng.integers(2, 5)))
    wish, product_type = world.pick(WISHES), world.product_type()
    titles = [world.padded(draw_match(world, wish, label, product_type).title) for label in labels]
    products = [f"{letter}: {title}" for letter, title in zip(LETTERS, titles, strict=False)]
    best_first = sorted(range(len(labels)), key=lambda place: ESCI.index(labels[place]))
    text = json.dumps({"query": _query(wish, product_type), "product list": products})
    return Example(text, ",".join(LETTERS[place] for place in best_first), relevance=tuple(labels))


def _document(world: World, topics: list[str]) -> tuple[str, dict[str, str]]:
    """Write reviews that speak of the topics; return them and the sentence for each topic."""
    sentences = {topic: TOPICS[topic][1].format(world.pick(TOPICS[topic][2])) for topic in topics}
    opening = f"i bought this {world.pick(BRANDS)} {world.product_type()}"
    return world.padded(". ".join([opening, *sentences.values()])), sentences


def answerability_prediction(world: World, _options: list[str]) -> Example:
    """AP: the document speaks of two topics; is the one asked among them?"""
    is_answerable = world.chance(YES_SHARE)
    *told, missing = world.sample(tuple(TOPICS), 3)
    asked = world.pick(told) if is_answerable else missing
    text = json.dumps({"question": TOPICS[asked][0], "document": _document(world, told)[0]})
    return Example(text, "yes" if is_answerable else "no")


def answer_generation(world: World, _options: list[str]) -> Example:
    """AG: the document speaks of three topics; the answer repeats what it says of the one asked."""
    told = world.sample(tuple(TOPICS), 3)
    document, sentences = _document(world, told)
    asked = world.pick(told)
    return Example(json.dumps({"question": TOPICS[asked][0], "document": document}), sentences[asked])


class SyntheticTask(NamedTuple):
    """How a task is written into the made-up release.

    Attributes:
        release_name: the task's name in the file, with the release's spelling.
        draw: draws an example, given the world and the texts of the task's options.
        has_out_of_domain: whether there is an OOD test.
    """

    release_name: str
    draw: Callable[[World, list[str]], Example]
    has_out_of_domain: bool


SYNTHETIC_TASKS: dict[str, SyntheticTask] = {
    "AVE": SyntheticTask("Attribute_Value_Extraction", attribute_value_extraction, True),
    "PRP": SyntheticTask("Product_Relation_Predicition", product_relation_prediction, True),
    "PM": SyntheticTask("Product_Matching", product_matching, False),
    "SA": SyntheticTask("Sentiment_Analysis", sentiment_analysis, True),
    "SR": SyntheticTask("Sequential_Recommendation", sequential_recommendation, True),
    "MPC": SyntheticTask("Multiclass_Product_Classification", multiclass_product_classification, False),
    "PSI": SyntheticTask("Product_Substitue_Identification", product_substitute_identification, False),
    "QPR": SyntheticTask("Query_Product_Rank", query_product_ranking, False),
    "AP": SyntheticTask("Answerability_Prediction", answerability_prediction, True),
    "AG": SyntheticTask("Answer_Generation", answer_generation, True),
}
