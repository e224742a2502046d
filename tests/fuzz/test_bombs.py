"""Small input that becomes large: refused, or read, in bounded memory. Each in a process of its own."""

import pytest

from tests.fuzz.bombs import BOMBS, explode_elsewhere

# Above what the process has before it reads; a row or line of 64 MiB of brackets and commas takes thirty times as much.
MOST_MIB = 350
MOST_MIB_OF = {
    "release line of many lists": 2_500,
    "release with a row of many lists": 1_200,
    "release with a row of many accents": 1_200,
    "release with a text of 1 GiB": 600,
    "metadata with a line of many lists": 2_000,
    "reviews with a line of many texts": 2_000,
    "labels of many lists": 4_000,
    "catalogue of a million wordings": 900,
    "old metadata with a wide literal": 1_500,
}
QUICK = ("release of 1 GiB of zeros", "release 100,000 levels deep", "labels of 1 GiB", "recipe of billions of laughs")
IS_READ = (
    "metadata with a line of many lists",
    "reviews with a line of many texts",
    "old metadata with a deep literal",
    "old metadata with a wide literal",
    "catalogue of a million wordings",
)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_a_bomb_takes_bounded_memory_and_is_told(name):
    found = explode_elsewhere(name)
    assert found["peak"] - found["before"] < MOST_MIB_OF.get(name, MOST_MIB), found
    if name in IS_READ:
        assert found["told"].startswith("read: "), found
    else:
        assert found["told"].startswith("told: "), found
        assert found["name"] in found["told"], found
