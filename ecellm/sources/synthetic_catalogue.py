"""The products of the made-up raw files: any product of a category can be looked up by its number, with no table.

The title's graded words and the grade are those of `synthetic_world`; here every grade is as likely as the others, so
a single word says something of the grade, though only all five decide it.

All that is true of a product is a hash of (seed, category, number), so blocks of reviews, questions and queries that
are written apart from each other agree on it. Maker and type follow from the number by division, so that the
products of a maker, or of a type, can be listed too:

    number % num_makers                 the maker
    number // num_makers % num_types    the type
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ecellm.sources.synthetic_words import ATTRIBUTES, CATEGORIES, MAKERS
from ecellm.sources.synthetic_world import GRADED, MAX_GRADE, WORDS_PER_VALUE, Product

T = TypeVar("T")
Numbers = np.ndarray[Any, Any]

_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKLMNPQRSTUVWX", dtype="S1")
_ASIN_DIGITS, _USER_DIGITS = 7, 12
# Odd numbers: multiplying by one of them modulo a power of two mixes ids up and keeps them apart.
_ASIN_FACTOR, _USER_FACTOR = 22_695_477, 862_517_930_214_041
_NUM_TOLD = 5
_PRODUCTS_OF_A_MAKER = 50
_DRAWS_AT_A_TIME = 1 << 15


class Draws:
    """Random choices in plain Python from batches of numpy draws; many times faster than a generator call for each."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.uniform: Callable[[], float] = self._stream(rng).__next__

    @staticmethod
    def _stream(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(_DRAWS_AT_A_TIME).tolist()

    def below(self, end: int) -> int:
        """Return a whole number of 0 to end - 1."""
        return int(self.uniform() * end)

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values, each as likely as the others."""
        return values[int(self.uniform() * len(values))]

    def sample(self, values: Sequence[T], count: int) -> list[T]:
        """Return `count` different values in random order."""
        rest = list(values)
        return [rest.pop(int(self.uniform() * len(rest))) for _ in range(count)]

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.uniform() < probability


class CatalogueProduct(NamedTuple):
    """A product of the catalogue.

    Attributes:
        number: its place in the catalogue, 0 and up.
        asin: ten characters.
        maker: the brand that shoppers are loyal to.
        level: its category's second level.
        product: the graded words and the type.
        grade: the sum of the words' values, 0 to 10.
        model: its model number.
        told: what description and features say of it: values by attribute.
    """

    number: int
    asin: str
    maker: str
    level: str
    product: Product
    grade: int
    model: str
    told: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The title without any markup."""
        series, make, finish, material, packing, product_type = self.product
        return f"{self.maker} {series} {make} {finish} {material} {product_type} {self.model}, {packing}"


@dataclass(frozen=True)
class Catalogue:
    """The products of one category.

    Attributes:
        seed: fixes every product.
        category: one of `synthetic_words.CATEGORIES`.
        num_products: how many there are; their numbers are 0 to num_products - 1.
    """

    seed: int
    category: str
    num_products: int

    @cached_property
    def place(self) -> int:
        """The category's place among all categories."""
        return list(CATEGORIES).index(self.category)

    @cached_property
    def types(self) -> tuple[tuple[str, str], ...]:
        """All (second level, type) of the category."""
        levels = CATEGORIES[self.category].types
        return tuple((level, product_type) for level, types in levels.items() for product_type in types)

    @cached_property
    def num_makers(self) -> int:
        """How many makers there are; few in a small catalogue, as a loyal shopper needs several of one maker."""
        return max(4, min(len(MAKERS), self.num_products // _PRODUCTS_OF_A_MAKER))

    @cached_property
    def makers(self) -> tuple[str, ...]:
        """The makers by place; small catalogues of different categories have different ones."""
        start = self.place * (len(MAKERS) // len(CATEGORIES))
        return tuple(MAKERS[(start + place) % len(MAKERS)] for place in range(self.num_makers))

    def asins(self, numbers: Numbers) -> list[str]:
        """Return the ids of products; numbers behind the catalogue's end give ids of products that do not exist."""
        values = (numbers.astype(np.uint64) * np.uint64(_ASIN_FACTOR) + self._stream("asin")) % np.uint64(
            1 << 5 * _ASIN_DIGITS
        )
        return [f"B0{self.place}{digits}" for digits in _base32(values, _ASIN_DIGITS)]

    def maker_and_type_names(self, numbers: Numbers) -> tuple[list[str], list[str]]:
        """Return the makers and the types of products."""
        types = np.array([name for _, name in self.types], dtype=object)
        makers = np.array(self.makers, dtype=object)
        return makers[numbers % self.num_makers].tolist(), types[self._type_places(numbers)].tolist()

    def numbers_of_type(self, type_place: int) -> Numbers:
        """Return the numbers of all products of a type, given its place in `types`."""
        starts = np.arange(type_place * self.num_makers, self.num_products, self.num_makers * len(self.types))
        numbers = (starts[:, None] + np.arange(self.num_makers)[None, :]).ravel()
        return numbers[numbers < self.num_products]

    def grades(self, numbers: Numbers) -> Numbers:
        """Return the grades of products, each as likely as the others."""
        return self.hashes("grade", numbers) % (MAX_GRADE + 1)

    def hashes(self, field: str, numbers: Numbers) -> Numbers:
        """Return a non-negative int64 for each product: the same for the same field."""
        mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + self._stream(field)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # SplitMix64's mixing
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)

    def products(self, numbers: Numbers) -> list[CatalogueProduct]:
        """Return products by number."""
        makers, _ = self.maker_and_type_names(numbers)
        grades = self.grades(numbers)
        columns = zip(
            numbers.tolist(),
            self.asins(numbers),
            makers,
            self._type_places(numbers).tolist(),
            grades.tolist(),
            self._words(numbers, grades),
            (self.hashes("model", numbers) % 9000 + 1000).tolist(),
            self._told(numbers),
            strict=True,
        )
        return [
            CatalogueProduct(
                number,
                asin,
                maker,
                self.types[place][0],
                Product._make((*words, self.types[place][1])),
                grade,
                f"{maker[0]}{model}",
                told,
            )
            for number, asin, maker, place, grade, words, model, told in columns
        ]

    def _stream(self, field: str) -> np.uint64:
        return _stream(self.seed, self.place, field)

    def _type_places(self, numbers: Numbers) -> Numbers:
        return numbers // self.num_makers % len(self.types)

    def _words(self, numbers: Numbers, grades: Numbers) -> list[tuple[str, ...]]:
        """Return the graded words of products with these grades."""
        table, sizes = _values_by_grade()
        values = table[grades, self.hashes("values", numbers) % sizes[grades]]
        bits = self.hashes("words", numbers)[:, None] >> np.arange(len(GRADED)) & 1
        places = (values * WORDS_PER_VALUE + bits).T
        columns = [np.array(words, dtype=object)[row].tolist() for words, row in zip(GRADED, places, strict=True)]
        return list(zip(*columns, strict=True))

    def _told(self, numbers: Numbers) -> list[tuple[tuple[str, str], ...]]:
        """Return five attributes of each product with their values."""
        names = tuple(ATTRIBUTES)
        steps = (1, 5, 7, 11)  # no factor in common with the number of attributes: five different ones
        starts = (self.hashes("told", numbers) % len(names)).tolist()
        chosen = (self.hashes("step", numbers) % len(steps)).tolist()
        values = self.hashes("attributes", numbers).tolist()
        return [
            tuple(
                (name, ATTRIBUTES[name][1][(value >> 8 * turn) % len(ATTRIBUTES[name][1])])
                for turn, name in enumerate(
                    names[(start + steps[step] * turn) % len(names)] for turn in range(_NUM_TOLD)
                )
            )
            for start, step, value in zip(starts, chosen, values, strict=True)
        ]


def user_ids(numbers: Numbers) -> list[str]:
    """Return the ids of shoppers by number."""
    values = (numbers.astype(np.uint64) * np.uint64(_USER_FACTOR)) % np.uint64(1 << 5 * _USER_DIGITS)
    return [f"A{digits}" for digits in _base32(values, _USER_DIGITS)]


def _base32(values: Numbers, num_digits: int) -> list[str]:
    shifts = np.arange(5 * (num_digits - 1), -1, -5, dtype=np.uint64)
    digits = _ALPHABET[(values[:, None] >> shifts & np.uint64(31)).astype(np.int64)]
    texts: list[str] = np.ascontiguousarray(digits).view(f"S{num_digits}").ravel().astype(str).tolist()
    return texts


@lru_cache(maxsize=1024)
def _stream(seed: int, place: int, field: str) -> np.uint64:
    entropy = [seed, place, int.from_bytes(field.encode(), "big")]
    return np.uint64(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=1)
def _values_by_grade() -> tuple[Numbers, Numbers]:
    """Return all values of five words by grade, padded, int64 (11, n, 5), and how many there are of each grade."""
    every = list(itertools.product(range(3), repeat=len(GRADED)))
    groups = [[values for values in every if sum(values) == grade] for grade in range(MAX_GRADE + 1)]
    sizes = np.array([len(group) for group in groups])
    table = np.zeros((len(groups), int(sizes.max()), len(GRADED)), dtype=np.int64)
    for grade, group in enumerate(groups):
        table[grade, : len(group)] = group
    return table, sizes
