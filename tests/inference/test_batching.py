"""Which prompts share a beginning, and which are in one batch."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ecellm.inference.batching import LEAST_SHARED, MOST_PADDING, batches, share

prompts = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.lists(st.integers(0, 1), min_size=1, max_size=5)).map(
        lambda parts: [parts[0]] * parts[1] + parts[2]
    ),
    min_size=1,
    max_size=12,
)


def saved(groups):
    return sum(group.num_shared * (len(group.places) - 1) for group in groups)


@given(prompts)
def test_each_prompt_is_in_one_group_and_begins_as_the_group_says(prompts):
    groups = share(prompts)
    assert sorted(place for group in groups for place in group.places) == list(range(len(prompts)))
    for group in groups:
        assert group.num_shared == 0 or group.num_shared >= LEAST_SHARED
        beginnings = {tuple(prompts[place][: group.num_shared]) for place in group.places}
        assert len(beginnings) == 1
        assert all(len(prompts[place]) > group.num_shared for place in group.places)


def partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [item for item in rest if item not in others]
            for more in partitions(left):
                yield [[first, *others], *more]


def most_saved(prompts):
    """The most tokens that any grouping at all can save."""

    def value(group):
        shortest = min(len(prompts[place]) for place in group) - 1
        common = next((i for i in range(shortest) if len({prompts[place][i] for place in group}) > 1), max(shortest, 0))
        return common * (len(group) - 1) if common >= LEAST_SHARED else 0

    return max(sum(map(value, groups)) for groups in partitions(list(range(len(prompts)))))


def test_no_other_grouping_saves_more():
    a, b = [1] * 32, [2] * 32
    some = [[*a, 1, 1], [*a, 2, 1], a + [3] * 16 + [1, 5], a + [3] * 16 + [2, 5], [*b, 7, 1], [*b, 8, 1], [9]]
    assert saved(share(some)) == most_saved(some) == 32 * 3 + 32


def test_a_long_beginning_of_few_gives_way_to_a_short_one_of_many():
    common = [1] * 20
    two = [common + [2] * 16 + [n] for n in (1, 2)]
    many = [[*common, 3 + n] for n in range(30)]
    (group,) = share([*two, *many])
    assert (group.num_shared, len(group.places)) == (20, 32)


def test_prompts_that_are_too_long_share_nothing():
    groups = share([[1] * 30 + [n] * 3 for n in (1, 2, 3)] + [[1] * 80, [1] * 81], longest=40)
    assert {(group.num_shared, group.places) for group in groups} == {(30, (0, 1, 2)), (0, (3, 4))}


def test_a_thousand_prompts_that_each_begin_the_next_are_no_problem():
    groups = share([[1] * length for length in range(1, 1200)])
    assert sum(len(group.places) for group in groups) == 1199


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 16))
def test_batches_hold_little_padding(lengths, most):
    found = list(batches(lengths, range(len(lengths)), most))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= most
        tokens = [lengths[place] for place in batch]
        assert max(tokens) * len(tokens) - sum(tokens) <= MOST_PADDING * max(tokens) * len(tokens)
