"""ROUGE-L: what Google's library gives is the F-measure of the longest common subsequence of words."""

import re
from functools import cache

import pytest

from ecellm.evaluation.similarity.rouge import RougeL
from ecellm.evaluation.similarity.texts import TextPair
from tests.evaluation.similarity.conftest import hostile_pairs, ordinary_pairs


def by_hand(answer, reference):
    a, r = (re.findall(r"[a-z0-9]+", text.lower()) for text in (answer, reference))

    @cache
    def common(i, j):
        if not i or not j:
            return 0
        return common(i - 1, j - 1) + 1 if a[i - 1] == r[j - 1] else max(common(i - 1, j), common(i, j - 1))

    return 2 * common(len(a), len(r)) / (len(a) + len(r)) if common(len(a), len(r)) else 0.0


def test_it_is_the_f_measure_of_the_longest_common_subsequence():
    pairs = ordinary_pairs()
    assert RougeL().score(pairs)["rouge_l"] == pytest.approx([by_hand(*pair) for pair in pairs])
    assert RougeL().score([TextPair("Running LAMPS!", "run, lamps")])["rouge_l"] == [0.5]  # no stemmer


def test_hostile_texts_score():
    figures = dict(zip(hostile_pairs(), RougeL().score(hostile_pairs())["rouge_l"], strict=True))
    assert all(0 <= value <= 1 for value in figures.values())
    assert all(value == 0 for pair, value in figures.items() if not pair.answer or not pair.reference)


def test_of_a_very_long_text_the_first_two_thousand_words_count():
    """A table of all words of both texts would take more memory than a node has."""
    long = TextPair("lamp " * 100_000, "lamp " * 100_000)
    assert RougeL().score([long])["rouge_l"] == [1.0]
    assert RougeL().score([TextPair("red " + "blue " * 3000, "blue " * 2000)])["rouge_l"] == [1999 / 2000]
