"""How big the made-up world is, and the blocks that it is written in.

Blocks have a fixed number of rows whatever the cluster, and are numbered by kind (and category, where a kind has
several), so that what a block holds hangs on nothing but seed and size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.errors import InputError
from ecellm.sources.synthetic_words import CATEGORIES

SOURCES = ("amazon_google", "amazon_review_2018", "amazon_review_2014", "shopping_queries", "amazon_qa", "mave")
# Rows of a block: what a task holds at a time.
_BLOCK_ROWS = {"products": 10_000, "reviews": 20_000, "queries": 2_000, "questions": 10_000, "extractions": 10_000}
_MOST_LISTINGS = 2_000
_MOST_QUERIES = 140_000  # of a category: there are 147,456 different texts
_LEAST_REVIEWS = 500
_LEAST_PRODUCTS = 60  # of a category: every type has some
_SPLIT_SHARES = {"train": 8, "val": 1, "test": 1}
_SIGN_SHARES = {"positives": 3, "negatives": 1}
Block = dict[str, Any]


@dataclass(frozen=True)
class WorldSize:
    """How much is written; all categories have the same share.

    Attributes:
        num_reviews: reviews of all categories, at least 500; all other numbers follow from it where they are 0.
        num_products: 0.3 of the reviews, at least 60 a category.
        num_users: shoppers in all categories, 0.15 of the reviews.
        num_queries: 0.05 of the reviews, 100 to 140,000 a category; a query has 4 to 12 products.
        num_questions: 0.1 of the reviews, at least 200.
        num_extractions: rows of MAVE, 0.1 of the reviews, at least 200; a quarter are negatives.
        num_listings: rows of Amazon.csv, 0.02 of the reviews, 120 to 2,000.
        in_domain: categories in domain.
        out_of_domain: categories out of domain.
        malformed_rate: share of JSON and Python lines that a cut copy follows, which no parser reads.
    """

    num_reviews: int
    num_products: int = 0
    num_users: int = 0
    num_queries: int = 0
    num_questions: int = 0
    num_extractions: int = 0
    num_listings: int = 0
    in_domain: tuple[str, ...] = ("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors")
    out_of_domain: tuple[str, ...] = ("Tools_and_Home_Improvement", "Cell_Phones_and_Accessories")
    malformed_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.num_reviews < _LEAST_REVIEWS:
            raise InputError(f"num_reviews={self.num_reviews}: a made-up world has at least {_LEAST_REVIEWS} reviews")
        unknown = sorted(set(self.categories).difference(CATEGORIES))
        if unknown or not self.categories or len(set(self.categories)) < len(self.categories):
            given = ", ".join(self.categories) or "none"
            raise InputError(f"categories {given}: name some of {', '.join(CATEGORIES)}, each once")
        if not 0 <= self.malformed_rate <= 1:
            raise InputError(f"malformed_rate={self.malformed_rate}: a share is from 0 to 1")
        for name, number in self._by_ratio().items():
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}: give a positive number, or 0 to follow num_reviews")
            object.__setattr__(self, name, getattr(self, name) or number)  # frozen for all but this
        if self.num_products < _LEAST_PRODUCTS * len(self.categories):
            least = _LEAST_PRODUCTS * len(self.categories)
            raise InputError(f"num_products={self.num_products}: these categories need at least {least} products")
        if self.num_users > self.num_reviews:
            raise InputError(f"num_users={self.num_users}: every shopper writes a review; {self.num_reviews} at most")
        if self.num_queries > _MOST_QUERIES * len(self.categories):
            most = _MOST_QUERIES * len(self.categories)
            raise InputError(f"num_queries={self.num_queries}: there are {most} different ones at most")

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, those in domain first."""
        return (*self.in_domain, *self.out_of_domain)

    def products_of(self, category: str) -> int:
        """Return the number of a category's products."""
        return _shares(self.num_products, dict.fromkeys(self.categories, 1))[category]

    def _by_ratio(self) -> dict[str, int]:
        reviews = self.num_reviews
        return {
            "num_products": max(3 * reviews // 10, _LEAST_PRODUCTS * len(self.categories)),
            "num_users": 15 * reviews // 100,
            "num_queries": min(max(reviews // 20, 100), _MOST_QUERIES * len(self.categories)),
            "num_questions": max(reviews // 10, 200),
            "num_extractions": max(reviews // 10, 200),
            "num_listings": min(max(reviews // 50, 120), _MOST_LISTINGS),
        }


def blocks_of_world(size: WorldSize, sources: Sequence[str]) -> list[Block]:
    """Return the blocks of these sources; a source's blocks do not hang on the other sources."""
    blocks: list[Block] = []
    if "amazon_google" in sources:
        blocks.append({"kind": "listings", "category": "", "block": 0, "first": 0, "count": size.num_listings})
    years = [year for year in (2018, 2014) if f"amazon_review_{year}" in sources]
    reviews = _shares(size.num_reviews, dict.fromkeys(size.categories, 1))
    for category in size.categories:
        products = list(_cut("products", category, size.products_of(category)))
        blocks += [block | {"years": years} for block in products if years]
        if "shopping_queries" in sources:
            blocks += [block | {"kind": "shopping_products"} for block in products]
        if "amazon_review_2018" in sources:
            blocks += _cut("reviews", category, reviews[category])
    if "shopping_queries" in sources:
        blocks += _cut("queries", "", size.num_queries)
    if "amazon_qa" in sources:
        blocks += _cut_by_share("questions", "split", size.num_questions, _SPLIT_SHARES)
    if "mave" in sources:
        blocks += _cut_by_share("extractions", "sign", size.num_extractions, _SIGN_SHARES)
    return blocks


def _cut(kind: str, category: str, total: int) -> Iterator[Block]:
    rows = _BLOCK_ROWS[kind]
    for block, first in enumerate(range(0, total, rows)):
        yield {
            "kind": kind,
            "category": category,
            "block": block,
            "first": first,
            "count": min(rows, total - first),
        }


def _cut_by_share(kind: str, name: str, total: int, weights: dict[str, int]) -> Iterator[Block]:
    """Yield the blocks of the files of a kind, numbered through."""
    num_blocks = first = 0
    for value, count in _shares(total, weights).items():
        for block in _cut(kind, "", count):
            yield block | {name: value, "block": num_blocks, "first": first + block["first"]}
            num_blocks += 1
        first += count


def _shares(total: int, weights: dict[str, int]) -> dict[str, int]:
    """Cut a number into whole shares by weight; the first ones are one bigger where it does not divide."""
    whole = sum(weights.values())
    shares = {name: total * weight // whole for name, weight in weights.items()}
    for name in list(shares)[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
