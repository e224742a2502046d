"""The naive reading of Sequential_Recommendation, and the readers that it shares with the other recipes.

What goes in: ratings, 2018 and 2014 metadata of a raw directory. What comes out: what each user bought, in order, with
the items' texts, cleaned but not cut; and a check of built samples, whose candidates are random.
"""

import ast
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

Categories = Mapping[str, Sequence[str]]


class Item(NamedTuple):
    """One purchase: the product's id and its cleaned, uncut text."""

    asin: str
    text: str


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines, gzip or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in content.splitlines():  # of bytes: at \n and \r alone, never at U+2028 in a text
        yield json.loads(line)


def by_domain(categories: Categories) -> Iterator[tuple[str, str]]:
    """Name each category with its domain: IND first, then OOD."""
    for domain, key in (("IND", "in_domain"), ("OOD", "out_of_domain")):
        for category in categories.get(key, ()):
            yield domain, category


def cut_words(text: str, num_words: int) -> str:
    """Cut a text of more than num_words words, split at single spaces: dots stripped at both ends, `...` added."""
    words = text.split(" ")
    return text if len(words) <= num_words else " ".join(words[:num_words]).strip(".") + "..."


def product_metadata(raw_dir: Path, category: str) -> dict[str, dict[str, Any]]:
    """Read the 2018 metadata of a category by asin; of a repeated asin the last line wins."""
    path = raw_dir / "amazon_review_2018" / "meta" / f"meta_{category}.json.gz"
    return {product["asin"]: product for product in json_lines(path)}


class _TextOfHtml(HTMLParser):
    """Keeps the text of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def cleaned(text: str | None) -> str:
    """Clean one string of an item: markup to text, one dot at its end; nothing if empty or of 2,000 characters."""
    if not text or len(text) >= 2_000:
        return ""
    parser = _TextOfHtml()
    parser.feed(text.replace('"', "").replace("\n", "").replace("\r", ""))
    parser.close()
    return "".join(parser.pieces).strip(".") + "."


def metadata_2014(raw_dir: Path, category: str) -> dict[str, dict[str, Any]]:
    """Read the 2014 metadata by asin, one Python literal a line; empty where there is no such file."""
    path = raw_dir / "amazon_review_2014" / "meta" / f"meta_{category}.json.gz"
    if not path.exists():
        return {}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        products = [ast.literal_eval(line) for line in lines]
    return {product["asin"]: product for product in products}


def item_text(product: dict[str, Any], older: dict[str, Any]) -> str:
    """Write an item: title, the first two category levels, brand; title and brand from 2014 where empty in 2018."""
    title = cleaned(product.get("title") or older.get("title"))
    category = " ".join(cleaned(level) for level in (product.get("category") or [])[:2])
    brand = cleaned(product.get("brand") or older.get("brand"))
    return f"{title} {category} {brand}"


def five_core(purchases: list[list[str]]) -> list[list[str]]:
    """Drop purchases (item, user, ...) until every user and every item left has five."""
    while True:
        items = Counter(purchase[0] for purchase in purchases)
        users = Counter(purchase[1] for purchase in purchases)
        kept = [purchase for purchase in purchases if items[purchase[0]] >= 5 and users[purchase[1]] >= 5]
        if len(kept) == len(purchases):
            return kept
        purchases = kept


def category_sequences(raw_dir: Path, category: str) -> dict[str, list[Item]]:
    """Read each user's first 50 purchases of a category, in time, after the 5-core; ties in the file's order."""
    products, older = product_metadata(raw_dir, category), metadata_2014(raw_dir, category)
    path = raw_dir / "amazon_review_2018" / "rating" / f"{category}.csv"
    lines = dict.fromkeys(path.read_text(encoding="utf-8").splitlines())  # in order, without repeats
    rows = [line.split(",") for line in lines]
    sequences: dict[str, list[Item]] = {}
    for asin, user, *_ in sorted(five_core([row for row in rows if row[0] in products]), key=lambda row: int(row[3])):
        text = item_text(products[asin], older.get(asin, {}))
        sequences.setdefault(user, []).append(Item(asin, text))
    return {user: items[:50] for user, items in sequences.items()}


def sequential_recommendation(raw_dir: Path, categories: Categories) -> dict[str, Any]:
    """SR: what each user bought, and per domain the pool from which candidates may be drawn."""
    sequences = {
        (domain, category, user): items
        for domain, category in by_domain(categories)
        for user, items in category_sequences(raw_dir, category).items()
    }
    pools: dict[str, set[str]] = {}
    for (domain, _, _), items in sequences.items():
        pools.setdefault(domain, set()).update(item.text for item in items)
    return {"sequences": sequences, "pools": pools}


def target_position(items: Sequence[Item], split: str) -> int:
    """Tell which purchase a split asks for: the third last, second last or last."""
    return len(items) - {"train": 3, "val": 2, "test": 1}[split]


def sequence_input(items: Sequence[Item], split: str) -> str:
    """Write the history of a sample: the list repr of what precedes the target, each text cut to 25 words."""
    history = items[: target_position(items, split)]
    return repr([f"{ordinal(place)}: {cut_words(item.text, 25)}" for place, item in enumerate(history, start=1)])


def ordinal(number: int) -> str:
    """Write 1st, 2nd, 3rd, 4th, 11th, 21st."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def faults_of_sequence_sample(
    items: Sequence[Item], pool: set[str], split: str, text: str, options: str, output: str
) -> list[str]:
    """List what is wrong with a built SR sample of a user; candidates may be any, but not the user's last three."""
    listed = ast.literal_eval(options)
    letters = "ABCDEFGHIJKLMNOPQRST"
    target = cut_words(items[target_position(items, split)].text, 25)
    cut_pool = Counter(cut_words(other, 25) for other in pool - {item.text for item in items[-3:]})
    wrong_candidates = Counter(option[3:] for option in listed if option[0] != output) - cut_pool
    checks = {
        "input is not the history": text == sequence_input(items, split),
        "options is not a list repr": options == repr(listed),
        "options are not lettered A to T": [option[:3] for option in listed] == [f"{letter}: " for letter in letters],
        "the output's option is not the target": f"{output}: {target}" in listed,
        "candidates that the pool does not allow": not wrong_candidates,
    }
    return [fault for fault, holds in checks.items() if not holds]
