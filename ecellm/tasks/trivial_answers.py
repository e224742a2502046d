"""Answers that need no model: what a tuned model has to beat."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def most_frequent(texts: Iterable[str]) -> list[str]:
    """Answer every row with the commonest of `texts`; of equals, the first by alphabet."""
    counts = Counter(texts)
    best = min(counts, key=lambda text: (-counts[text], text))
    return [best] * counts.total()


def random_choices(choices: Iterable[Sequence[str]], seed: int) -> list[str]:
    """Answer every row with one of its own choices, each as likely as the others."""
    rng = np.random.default_rng(seed)
    return [options[int(rng.integers(len(options)))] for options in choices]


def random_orders(letters: Iterable[Sequence[str]], seed: int) -> list[str]:
    """Rank the letters of every row at random, joined by commas."""
    rng = np.random.default_rng(seed)
    return [",".join(options[int(place)] for place in rng.permutation(len(options))) for options in letters]


def of_others(texts: Sequence[str], seed: int) -> list[str]:
    """Answer every row with the text of another row, each as likely as the others; at least two rows."""
    rng = np.random.default_rng(seed)
    places = rng.integers(len(texts) - 1, size=len(texts))
    return [texts[place + (place >= own)] for own, place in enumerate(places.tolist())]
