"""Dealing a global batch to ranks and micro-batches, by the lengths of its samples alone.

Every rank gets the same number of micro-batches (collectives must match), which compute about equally many positions:
either samples of like length, padded to the longest, or samples packed one behind the other.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Part = list[int]


@dataclass(frozen=True)
class Limits:
    """What one forward pass may hold.

    Attributes:
        num_samples: most samples.
        num_tokens: most positions, padding included; None for no limit. A longer sample is alone.
        is_packed: whether samples stand one behind the other in one row, instead of each in a padded row of its own.
    """

    num_samples: int
    num_tokens: int | None = None
    is_packed: bool = False

    def positions(self, lengths: Sequence[int]) -> int:
        """Return the positions that samples of these lengths take together."""
        return sum(lengths) if self.is_packed else len(lengths) * max(lengths, default=0)

    def allows(self, num_samples: int, num_positions: int) -> bool:
        """Tell whether one forward pass may hold so many samples, which take so many positions."""
        fits = self.num_tokens is None or num_positions <= self.num_tokens
        return num_samples <= 1 or (fits and num_samples <= self.num_samples)


def deal(lengths: Sequence[int], *, world_size: int, limits: Limits) -> list[list[Part]]:
    """Deal one global batch to ranks.

    As few micro-batches as the limits allow, rounded up to the same number for every rank, then evened out: that many
    micro-batches with the least positions in the largest. In each round the ranks get micro-batches next to each other
    in size, there and back, so that no rank always gets the largest; large ones come first, so that memory that does
    not suffice shows at once.

    Args:
        lengths: tokens of each sample of the batch.
        world_size: number of ranks.
        limits: of one micro-batch.

    Returns:
        Indices into `lengths` by rank and micro-batch. An empty micro-batch is one that must be computed with weight 0.
    """
    by_length = sorted(range(len(lengths)), key=lambda sample: (-lengths[sample], sample))
    cut = _pack if limits.is_packed else _bucket
    parts = cut(by_length, lengths, limits)
    rounds = math.ceil(len(parts) / world_size)
    parts = _even_out(cut, by_length, lengths, limits, rounds * world_size) or parts
    parts.sort(key=lambda part: -limits.positions([lengths[i] for i in part]))
    while len(parts) < rounds * world_size:
        parts = _split_largest(parts)
    ranks: list[list[Part]] = [[] for _ in range(world_size)]
    for number in range(rounds):
        hand = parts[number * world_size : (number + 1) * world_size]
        for rank, part in enumerate(hand if number % 2 == 0 else reversed(hand)):
            ranks[rank].append(part)
    return ranks


def _bucket(by_length: Sequence[int], lengths: Sequence[int], limits: Limits) -> list[Part]:
    """Cut samples in the order of their lengths into micro-batches; the first of each is its longest."""
    parts: list[Part] = []
    for sample in by_length:
        if parts and limits.allows(len(parts[-1]) + 1, (len(parts[-1]) + 1) * lengths[parts[-1][0]]):
            parts[-1].append(sample)
        else:
            parts.append([sample])
    return parts


def _pack(by_length: Sequence[int], lengths: Sequence[int], limits: Limits) -> list[Part]:
    """Put each sample, long ones first, into the first row with room for it (first-fit decreasing bin packing)."""
    parts: list[Part] = []
    filled: list[int] = []
    for sample in by_length:
        room = (
            place for place, part in enumerate(parts) if limits.allows(len(part) + 1, filled[place] + lengths[sample])
        )
        place = next(room, len(parts))
        if place == len(parts):
            parts.append([])
            filled.append(0)
        parts[place].append(sample)
        filled[place] += lengths[sample]
    return parts


def _even_out(
    cut: Callable[[Sequence[int], Sequence[int], Limits], list[Part]],
    by_length: Sequence[int],
    lengths: Sequence[int],
    limits: Limits,
    most: int,
) -> list[Part] | None:
    """Return at most `most` micro-batches with the tightest limit of positions that allows it; None if none does."""
    low, high = lengths[by_length[0]], limits.num_tokens or limits.num_samples * lengths[by_length[0]]
    found = None
    while low <= high:
        middle = (low + high) // 2
        parts = cut(by_length, lengths, dataclasses.replace(limits, num_tokens=middle))
        if len(parts) <= most:
            found, high = parts, middle - 1
        else:
            low = middle + 1
    return found


def _split_largest(parts: list[Part]) -> list[Part]:
    """Cut the first micro-batch that can be cut in two; without one, add an empty micro-batch."""
    place = next((place for place, part in enumerate(parts) if len(part) > 1), None)
    if place is None:
        return [*parts, []]
    part = parts[place]
    middle = len(part) // 2
    return [*parts[:place], part[:middle], part[middle:], *parts[place + 1 :]]
