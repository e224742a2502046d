"""Reviews and ratings of the made-up world: lines of Amazon Review 2018's review and rating files.

A shopper is loyal to one maker: nine purchases in ten are of its products. How many purchases a shopper makes, and how
often a product is bought, have a tail: a few have many. The stars follow from the text as in `sentiment_analysis`:
four remarks, of which stars - 1 praise; some say it with "not" and the opposite word; what else is said has no say.

Quirks of the real files, with their rates: a product that is not in the metadata 0.5 %; no reviewText 1 %; fewer than
ten words 8 %; a rating line twice 1 %; two purchases of a shopper on one day 5 %; a vote 5 %, a style 30 %.
"""

import json
import time
from typing import Any

import numpy as np

from ecellm.sources.synthetic_catalogue import Catalogue, Draws, user_ids
from ecellm.sources.synthetic_words import DAYS, NEUTRAL_REMARKS, PEOPLE, PURPOSES, SHORT_REVIEWS
from ecellm.sources.synthetic_world import ASPECTS, BLAME, NEGATED_SHARE, PRAISE

_STAR_SHARES = (0.14, 0.12, 0.16, 0.2, 0.38)
_LOYAL_SHARE = 0.9
# A fifth of a maker's products get most of the sales, and among them the first ones more than the others.
_HEAD_SHARE, _HEAD_SALES, _HEAD_POWER = 0.2, 0.85, 1.4
_SHOPPER_SIGMA = 0.6
_REDRAWS = 4
_FIRST_DAY, _NUM_DAYS = 12_784, 5_000  # 2005 to 2018, in days since 1970
_SECONDS_OF_A_DAY = 86_400


def review_lines(
    catalogue: Catalogue, first_user: int, num_users: int, num_reviews: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Return a block of reviews by shoppers who occur in no other block of the category.

    Args:
        catalogue: the products.
        first_user: number of the block's first shopper.
        num_users: shoppers of the block, at most num_reviews.
        num_reviews: reviews of the block.
        rng: draws everything.

    Returns:
        Lines of the review file (JSON) and of the rating file (item,user,rating,timestamp).
    """
    users, numbers, days = _purchases(catalogue, num_users, num_reviews, rng)
    makers, types = catalogue.maker_and_type_names(numbers % catalogue.num_products)
    stars = (rng.choice(len(_STAR_SHARES), size=num_reviews, p=_STAR_SHARES) + 1).tolist()
    draws = Draws(rng)
    reviews, ratings = [], []
    rows = zip(catalogue.asins(numbers), user_ids(first_user + users), stars, days.tolist(), makers, types, strict=True)
    for asin, user, overall, day, maker, product_type in rows:
        record = _record(draws, asin, user, overall, day)
        text = _text(draws, overall, maker, product_type)
        if text is not None:
            record["reviewText"] = text
        reviews.append(json.dumps(record))
        rating = f"{asin},{user},{overall}.0,{day * _SECONDS_OF_A_DAY}"
        ratings += [rating, rating] if draws.chance(0.01) else [rating]
    return reviews, ratings


def _purchases(
    catalogue: Catalogue, num_users: int, num_reviews: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return user, product number and day of each purchase, int64 (num_reviews,), in random order."""
    activity = rng.lognormal(sigma=_SHOPPER_SIGMA, size=num_users)
    counts = 1 + rng.multinomial(num_reviews - num_users, activity / activity.sum())
    users = np.repeat(np.arange(num_users), counts)
    loyalty = rng.integers(catalogue.num_makers, size=num_users)[users]
    numbers = _bought(catalogue, loyalty, rng)
    for _ in range(_REDRAWS):  # few buy the same thing again
        again = np.ones(num_reviews, dtype=bool)
        again[np.unique(users * catalogue.num_products + numbers, return_index=True)[1]] = False
        numbers[again] = _bought(catalogue, loyalty[again], rng)
    missing = rng.random(num_reviews) < 0.005
    numbers[missing] += catalogue.num_products
    days = _FIRST_DAY + rng.integers(_NUM_DAYS, size=num_reviews)
    same_day = np.flatnonzero((rng.random(num_reviews - 1) < 0.05) & (users[1:] == users[:-1]))
    days[same_day + 1] = days[same_day]
    order = rng.permutation(num_reviews)
    return users[order], numbers[order], days[order]


def _bought(catalogue: Catalogue, loyalty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a product for each maker that a shopper is loyal to, now and then one of another maker."""
    is_loyal = rng.random(len(loyalty)) < _LOYAL_SHARE
    makers = np.where(is_loyal, loyalty, rng.integers(catalogue.num_makers, size=len(loyalty)))
    num_of_maker = (catalogue.num_products - makers - 1) // catalogue.num_makers + 1
    num_in_head = np.ceil(num_of_maker * _HEAD_SHARE)
    draws = rng.random(len(loyalty))
    is_head = rng.random(len(loyalty)) < _HEAD_SALES
    places = np.where(is_head, num_in_head * draws**_HEAD_POWER, num_of_maker * draws).astype(np.int64)
    return np.asarray(makers + catalogue.num_makers * places)


def _record(draws: Draws, asin: str, user: str, overall: int, day: int) -> dict[str, Any]:
    when = time.gmtime(day * _SECONDS_OF_A_DAY)
    record: dict[str, Any] = {
        "overall": float(overall),
        "verified": draws.chance(0.8),
        "reviewTime": f"{when.tm_mon:02d} {when.tm_mday}, {when.tm_year}",
        "reviewerID": user,
        "asin": asin,
        "reviewerName": f"{draws.pick(PEOPLE)[:-1]} {user[-4:]}",
        "summary": ("One Star", "Two Stars", "Three Stars", "Four Stars", "Five Stars")[overall - 1],
        "unixReviewTime": day * _SECONDS_OF_A_DAY,
    }
    if draws.chance(0.05):
        record["vote"] = str(draws.below(40) + 2)
    if draws.chance(0.3):
        record["style"] = {"Size:": f" {draws.pick(('Small', 'Large', 'Twin'))}"}
    return record


def _text(draws: Draws, overall: int, maker: str, product_type: str) -> str | None:
    """Return what a review of so many stars says."""
    fate = draws.uniform()
    if fate < 0.01:
        return None
    if fate < 0.09:
        return f"{draws.pick(SHORT_REVIEWS)}, {product_type}"
    remarks = []
    for place, aspect in zip(draws.sample(range(4), 4), draws.sample(ASPECTS, 4), strict=True):
        is_negated, is_praise = draws.chance(NEGATED_SHARE), place < overall - 1
        word = draws.pick(PRAISE if is_praise != is_negated else BLAME)
        remarks.append(f"the {aspect} is {'not' if is_negated else 'so'} {word}")
    sentences = [f"my {maker} {product_type} came", *(neutral_remark(draws) for _ in range(draws.below(4)))]
    sentences.insert(draws.below(len(sentences)) + 1, ", ".join(remarks))
    return f"{'. '.join(sentences)}."


def neutral_remark(draws: Draws) -> str:
    """Return a remark that praises and blames nothing."""
    return draws.pick(NEUTRAL_REMARKS).format(
        day=draws.pick(DAYS),
        people=draws.pick(PEOPLE),
        purpose=draws.pick(PURPOSES),
        number=draws.below(90) + 2,
    )
