"""Which prompts are computed together: what they have in common once, what they have not in batches of like length.

Prompts of one task begin with the same instruction, so that a group of them shares the computation of its beginning.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEAST_SHARED = 16  # tokens; below, a pass of its own for the beginning costs more than it saves
MOST_PADDING = 0.1
_MOST_DEPTHS = 64  # lengths of a common beginning that are told apart: bounds the depth of the recursion


@dataclass(frozen=True)
class Group:
    """Prompts with a common beginning.

    Attributes:
        num_shared: tokens of the beginning; 0 where nothing is shared.
        places: the prompts, by place.
    """

    num_shared: int
    places: tuple[int, ...]


def share(prompts: Sequence[Sequence[int]], *, longest: float = float("inf")) -> list[Group]:
    """Return groups of prompts whose shared beginnings save most tokens; every prompt is in one.

    At least one token of each prompt is left out of the beginning.

    Args:
        prompts: token ids.
        longest: prompts of more tokens share nothing.
    """
    able = sorted((i for i in range(len(prompts)) if len(prompts[i]) <= longest), key=lambda i: (*prompts[i],))
    rest = tuple(i for i in range(len(prompts)) if len(prompts[i]) > longest)
    common = [_num_common(prompts[a], prompts[b]) for a, b in itertools.pairwise(able)]
    grain = max(LEAST_SHARED, max(common, default=0) // _MOST_DEPTHS)
    groups = _best(able, common, [length // grain for length in common], 0, len(able))[1] if able else []
    alone = rest + tuple(place for group in groups if not group.num_shared for place in group.places)
    return [group for group in groups if group.num_shared] + ([Group(0, tuple(sorted(alone)))] if alone else [])


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts begin with alike, the last of the shorter one left out."""
    limit = min(len(first), len(second)) - 1
    return next((i for i in range(limit) if first[i] != second[i]), limit)


def _best(
    order: Sequence[int], common: Sequence[int], levels: Sequence[int], start: int, end: int
) -> tuple[int, list[Group]]:
    """Return the most tokens that sharing saves in order[start:end], and the groups that save them.

    Either all of them share what they have in common, or they fall into parts where they have least in common.
    """
    if end - start == 1:
        return 0, [Group(0, (order[start],))]
    lowest = min(levels[start : end - 1])
    least = min(common[start : end - 1])
    together = (end - start - 1) * least if lowest else 0
    cuts = [place + 1 for place in range(start, end - 1) if levels[place] == lowest]
    apart, groups = 0, []
    for left, right in zip([start, *cuts], [*cuts, end], strict=True):
        saved, part = _best(order, common, levels, left, right)
        apart += saved
        groups += part
    if together > apart:
        return together, [Group(least, tuple(order[start:end]))]
    return apart, groups


def batches(lengths: Sequence[int], places: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut places into batches of like length, longest first: at most `most` rows and a tenth of padding in each.

    Args:
        lengths: tokens to compute, by place.
        places: what is cut.
        most: rows of a batch.
    """
    batch: list[int] = []
    tokens = 0
    for place in sorted(places, key=lambda place: (-lengths[place], place)):
        positions = lengths[batch[0] if batch else place] * (len(batch) + 1)
        if batch and (len(batch) == most or positions - tokens - lengths[place] > MOST_PADDING * positions):
            yield batch
            batch, tokens = [], 0
        batch.append(place)
        tokens += lengths[place]
    if batch:
        yield batch
