"""How many examples each split and each category gets: exact shares by place in a ranking."""

from collections.abc import Sequence

Size = int | str
Range = tuple[int, int]


def ranges_of_shares(num_rows: int, shares: Sequence[tuple[str, float]]) -> dict[str, Range]:
    """Divide places 0 to `num_rows` into splits; a bound is the share of all before it, rounded down.

    Args:
        num_rows: how many are divided.
        shares: (split, share) in order; the shares add up to 1.

    Returns:
        (first, end) of each split.
    """
    ranges: dict[str, Range] = {}
    start, total = 0, 0.0
    for number, (split, share) in enumerate(shares, 1):
        total += share
        end = num_rows if number == len(shares) else int(num_rows * total + 1e-9)
        ranges[split] = (start, end)
        start = end
    return ranges


def equal_parts(size: Size, number: int, *, larger_first: bool) -> list[Size]:
    """Divide a size among categories; what does not divide goes to the first ones, or to the last.

    10,000 among three is 3,334, 3,333, 3,333, or 3,333, 3,333, 3,334 (the release has both).
    """
    if isinstance(size, str):
        return [size] * number
    rest = size % number
    parts: list[Size] = [size // number + (place < rest) for place in range(number)]
    return parts if larger_first else parts[::-1]


def limited(rows: Range, size: Size) -> Range:
    """Keep the first `size` places of a range; `all` keeps it whole."""
    first, end = rows
    return (first, end) if isinstance(size, str) else (first, min(end, first + size))
