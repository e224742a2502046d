"""Which samples are trained on: exact numbers by rank of a seeded hash, alike for any number of workers."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np

from ecellm.errors import InputError


def selection_hash(seed: int, sample_id: str) -> int:
    """Return the place of a sample in the draw: a 64-bit number fixed by (seed, sample_id)."""
    return int.from_bytes(blake2b(f"{seed}:{sample_id}".encode(), digest_size=8).digest(), "big")


def shares(num_samples: int, mixture: Mapping[str, float]) -> dict[str, int]:
    """Split `num_samples` by weight; largest remainders first, so that the shares add up exactly."""
    total = sum(mixture.values())
    exact = {task: num_samples * weight / total for task, weight in mixture.items()}
    result = {task: int(value) for task, value in exact.items()}
    by_remainder = sorted(exact, key=lambda task: (result[task] - exact[task], task))
    for task in by_remainder[: num_samples - sum(result.values())]:
        result[task] += 1
    return result


def thresholds(
    ids: Mapping[str, Sequence[str]], num_samples: int | None, mixture: Mapping[str, float] | None, seed: int
) -> dict[str, int]:
    """Return, per task, the largest selection hash that is still kept (-1 keeps none).

    Args:
        ids: sample ids by task.
        num_samples: samples to keep in all; None keeps everything.
        mixture: weights by task; None draws from all tasks together.
        seed: of the draw.

    Raises:
        InputError: a task has fewer samples than its share, or the mixture names a task without samples.
    """
    everything = (1 << 64) - 1
    if num_samples is None:
        return dict.fromkeys(ids, everything)
    if mixture is None:
        pooled = [sample_id for task in sorted(ids) for sample_id in ids[task]]
        return dict.fromkeys(ids, _cutoff(pooled, num_samples, seed, "num_samples"))
    unknown = sorted(set(mixture) - set(ids))
    if unknown:
        raise InputError(f"mixture names {', '.join(unknown)}, but the samples have {', '.join(sorted(ids))}")
    wanted = shares(num_samples, mixture)
    return {task: _cutoff(ids[task], wanted.get(task, 0), seed, f"mixture: {task}") for task in ids}


def _cutoff(ids: Sequence[str], number: int, seed: int, what: str) -> int:
    if number == 0:
        return -1
    if number > len(ids):
        raise InputError(f"{what} asks for {number:,} samples, but there are {len(ids):,}: lower num_samples")
    hashes = np.fromiter((selection_hash(seed, sample_id) for sample_id in ids), dtype=np.uint64, count=len(ids))
    return int(np.partition(hashes, number - 1)[number - 1])
