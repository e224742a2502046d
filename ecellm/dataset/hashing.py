"""Content hashes of texts: what samples are called by, drawn by and put in order by.

All are blake2b over length-prefixed UTF-8, null distinct from the empty text, so that no two lists of texts look alike.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
_RANK_BYTES = 8
_NULL = b"\x00"


def text_bytes(text: str | None) -> bytes:
    """Return the bytes by which a text enters a hash: a mark, its length in UTF-8, its UTF-8."""
    if text is None:
        return _NULL
    data = text.encode("utf-8")
    return b"\x01" + len(data).to_bytes(8, "big") + data


def hash_texts(texts: Iterable[str | None]) -> bytes:
    """Return the 16-byte hash of texts."""
    return blake2b(b"".join(map(text_bytes, texts)), digest_size=DIGEST_BYTES).digest()


def rank_of(seed: int, *texts: str) -> int:
    """Return the 64-bit rank of something by which draws and splits order it."""
    data = b"".join(map(text_bytes, (str(seed), *texts)))
    return int.from_bytes(blake2b(data, digest_size=_RANK_BYTES).digest(), "big")


def ranks_of_columns(seed: int, label: str, *columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return the rank of each row of parallel text columns: uint64 [num_rows]; as `rank_of(seed, label, *row)`."""
    start = blake2b(text_bytes(str(seed)) + text_bytes(label), digest_size=_RANK_BYTES)
    digests = bytearray()
    for row in zip(*columns, strict=True):
        hasher = start.copy()
        hasher.update(b"".join(map(text_bytes, row)))
        digests += hasher.digest()
    return np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64)


def ranks_of_digests(seed: int, label: str, digests: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Return the rank of each 16-byte content hash: uint64 [num_rows]."""
    start = blake2b(text_bytes(str(seed)) + text_bytes(label), digest_size=_RANK_BYTES)
    ranks = bytearray()
    for digest in digests:
        hasher = start.copy()
        hasher.update(digest)
        ranks += hasher.digest()
    return np.frombuffer(bytes(ranks), dtype=">u8").astype(np.uint64)


def spread(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of 64-bit numbers (the finalizer of splitmix64, Steele et al. 2014): equal in, equal out."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
