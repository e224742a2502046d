"""Batches of an epoch: each example once, each rank an example of every batch, the same for everybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.baselines.loop import batches


@given(st.lists(st.integers(1, 50), min_size=4, max_size=300), st.integers(1, 40), st.integers(1, 4))
def test_each_example_once_and_no_rank_is_left_out(sizes, batch_size, world):
    made = batches(sizes, batch_size, world, (1, 0))
    assert sorted(place for batch in made for place in batch) == list(range(len(sizes)))
    assert all(len(batch) >= world for batch in made)
    assert len(made) == len(batches([0] * len(sizes), batch_size, world, (9, 9)))
    assert made == batches(sizes, batch_size, world, (1, 0))


def test_epochs_differ_and_batches_hold_like_sizes():
    sizes = [place % 97 for place in range(1000)]
    first, second = (batches(sizes, 10, 1, (1, epoch)) for epoch in range(2))
    assert first != second
    spread = [max(sizes[place] for place in batch) - min(sizes[place] for place in batch) for batch in first]
    assert sum(spread) / len(spread) == pytest.approx(2, abs=2)
