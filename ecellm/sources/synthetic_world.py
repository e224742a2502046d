"""The made-up world behind the synthetic data: shops, products, graded words, and how well a product fits a wish.

Every product is described by five graded words; each word is worth 0, 1 or 2, and the product's grade is their sum, 0
to 10. A query names a wish, worth 0, 1 or 2. The gap between grade and wish decides the ESCI label:

    gap    ..1    2..3    4..5    6..
    label   I      C       S       E

A label is drawn first and the words then to suit it, whatever the wish, so that neither the wish nor any single word
gives it away: only all of them together do. The types of the out-of-domain products occur nowhere in domain.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

# Six words each, two of every value, rising.
BRANDS = ("Acme", "Borel", "Cavo", "Delmar", "Elko", "Fintan")
MAKES = ("flimsy", "rough", "simple", "neat", "sturdy", "refined")
FINISHES = ("dull", "chalky", "matt", "satin", "glossy", "gilded")
MATERIALS = ("paper", "rubber", "nylon", "cotton", "steel", "walnut")
PACKINGS = ("bagged", "wrapped", "boxed", "tinned", "cased", "chested")
GRADED = (BRANDS, MAKES, FINISHES, MATERIALS, PACKINGS)
WISHES = ("cheap", "basic", "decent", "good", "premium", "luxury")
WORDS_PER_VALUE = 2
MAX_GRADE = 2 * len(GRADED)

CATALOGUE = {
    "IND": {
        "Kitchen": ("kettle", "mug", "pan"),
        "Photo": ("camera", "tripod", "lens"),
        "Camping": ("tent", "lantern", "stove"),
    },
    "OOD": {"Tools": ("drill", "saw", "wrench")},
}
# Least and greatest gap between grade and wish of each label.
GAPS = {"E": (6, MAX_GRADE), "S": (4, 5), "C": (2, 3), "I": (-2, 1)}
ESCI = tuple(GAPS)
# What reviews praise and blame, and how often by the opposite word after "not".
ASPECTS = ("lid", "color", "handle", "box", "smell", "weight", "price", "shape")
PRAISE = ("great", "lovely", "superb", "solid")
BLAME = ("awful", "poor", "shoddy", "weak")
NEGATED_SHARE = 0.25
COLORS = ("red", "blue", "green", "black", "white", "pink", "grey", "orange")
SIZES = ("small", "medium", "large", "tiny", "wide", "tall")
# What questions ask: by topic the question, what a review says of it, and the values.
TOPICS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "color": ("what color is it?", "they sell it in {}", COLORS),
    "material": ("which material is it?", "made of {}", MATERIALS),
    "size": ("what size does it have?", "mine came out {}", SIZES),
    "weight": ("how heavy is it?", "it weighs {} ounces", ("ten", "twelve", "thirty", "forty", "fifty", "ninety")),
}
# Least and greatest step in grade from product 1 to product 2 for options A, B and C of PRP.
GRADE_STEPS = ((2, MAX_GRADE), (-MAX_GRADE, -2), (-1, 1))
_FILLER = ("and", "so", "the", "maker", "says", "that", "all", "parts", "last", "long", "in", "daily", "use")


@dataclass(frozen=True)
class World:
    """What an example is drawn from.

    Attributes:
        rng: every choice comes from it.
        domain: IND or OOD.
        padding_words: meaningless words added to each title, review and document, to write big files.
    """

    rng: np.random.Generator
    domain: str = "IND"
    padding_words: int = 0

    def pick(self, values: tuple[T, ...] | list[T]) -> T:
        """Return one of the values, each as likely as the others."""
        return values[int(self.rng.integers(len(values)))]

    def sample(self, values: tuple[T, ...], count: int) -> list[T]:
        """Return `count` different values in random order."""
        return [values[int(place)] for place in self.rng.permutation(len(values))[:count]]

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    def category(self) -> str:
        """Return one of the domain's categories."""
        return self.pick(tuple(CATALOGUE[self.domain]))

    def product_type(self) -> str:
        """Return the name of one of the domain's kinds of product."""
        return self.pick(CATALOGUE[self.domain][self.category()])

    def padded(self, text: str) -> str:
        """Return the text with the padding behind it."""
        return " ".join([text, *itertools.islice(itertools.cycle(_FILLER), self.padding_words)])


class Product(NamedTuple):
    """A product: its graded words and its type."""

    brand: str
    make: str
    finish: str
    material: str
    packing: str
    product_type: str

    @property
    def grade(self) -> int:
        """The sum of the words' values."""
        return sum(words.index(word) // WORDS_PER_VALUE for words, word in zip(GRADED, self, strict=False))

    @property
    def title(self) -> str:
        """The product's title in shops with long titles."""
        return f"{self.brand} {self.make} {self.finish} {self.material} {self.product_type}, {self.packing}"


@lru_cache(maxsize=256)
def _values_of_grades(low: int, high: int) -> tuple[tuple[int, ...], ...]:
    every = itertools.product(range(3), repeat=len(GRADED))
    return tuple(values for values in every if low <= sum(values) <= high)


def draw_product(world: World, low: int = 0, high: int = MAX_GRADE, product_type: str | None = None) -> Product:
    """Draw a product with a grade of `low` to `high`, of any type unless one is given."""
    values = world.pick(_values_of_grades(max(low, 0), min(high, MAX_GRADE)))
    offsets = world.rng.integers(WORDS_PER_VALUE, size=len(GRADED))
    words = [
        graded[WORDS_PER_VALUE * value + int(offset)]
        for graded, value, offset in zip(GRADED, values, offsets, strict=True)
    ]
    return Product._make([*words, product_type or world.product_type()])


def draw_match(world: World, wish: str, label: str, product_type: str) -> Product:
    """Draw a product of a type whose ESCI label for a wish is `label`."""
    value = WISHES.index(wish) // WORDS_PER_VALUE
    low, high = GAPS[label]
    return draw_product(world, low + value, high + value, product_type)
