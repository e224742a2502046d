"""Which samples are trained on: exact numbers, whatever the order."""

import pytest

from ecellm.errors import InputError
from ecellm.prompts.selection import selection_hash, shares, thresholds

IDS = {"A": [f"a{n}" for n in range(100)], "B": [f"b{n}" for n in range(50)]}


def kept(ids, limits, seed=1):
    return {task: {i for i in ids[task] if selection_hash(seed, i) <= limits[task]} for task in ids}


def test_exactly_so_many_are_kept_in_any_order():
    chosen = kept(IDS, thresholds(IDS, 30, None, 1))
    assert sum(map(len, chosen.values())) == 30
    backwards = {task: ids[::-1] for task, ids in reversed(IDS.items())}
    assert kept(backwards, thresholds(backwards, 30, None, 1)) == chosen
    assert kept(IDS, thresholds(IDS, 30, None, 2), 2) != chosen


def test_a_mixture_is_met_exactly():
    chosen = kept(IDS, thresholds(IDS, 10, {"A": 1, "B": 2}, 1))
    assert {task: len(ids) for task, ids in chosen.items()} == {"A": 3, "B": 7}
    assert shares(10, {"A": 1, "B": 1, "C": 1}) == {"A": 4, "B": 3, "C": 3}
    only = kept(IDS, thresholds(IDS, 5, {"A": 1}, 1))
    assert len(only["A"]) == 5
    assert not only["B"]


def test_more_than_there_is_is_refused():
    with pytest.raises(InputError, match="asks for 151 samples, but there are 150"):
        thresholds(IDS, 151, None, 1)
    with pytest.raises(InputError, match="mixture names C"):
        thresholds(IDS, 1, {"C": 1}, 1)
