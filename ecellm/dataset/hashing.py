"""Content hashes of texts: what samples are called by, drawn by and put in order by.

All are blake2b over length-prefixed UTF-8, null distinct from the empty text, so that no two lists of texts look alike.
Columns are hashed without making Python texts of them: their length-prefixed bytes are joined by Arrow.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

UIntArray = npt.NDArray[np.uint64]
DIGEST_BYTES = 16
DIGEST = pa.binary(DIGEST_BYTES)
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


def messages_of(*columns: pa.Array) -> pa.Array:
    """Return what rows of text columns enter a hash as: binary [num_rows], `text_bytes` of each column joined."""
    parts: list[Any] = []
    for column in columns:
        parts += [_marks(column), pc.fill_null(column, "").cast(pa.binary())]
    return pc.binary_join_element_wise(*parts, b"")


def _marks(column: pa.Array) -> pa.Array:
    """Return the mark and length of each text: 9 bytes, or the one byte of a null."""
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(">u8")
    marks = np.ones((len(lengths), 9), np.uint8)
    marks[:, 1:] = lengths.view(np.uint8).reshape(-1, 8)
    fixed = pa.Array.from_buffers(pa.binary(9), len(lengths), [None, pa.py_buffer(marks.tobytes())])
    result = fixed.cast(pa.binary())
    return pc.if_else(column.is_valid(), result, pa.scalar(_NULL, pa.binary())) if column.null_count else result


def hash_messages(start: bytes, messages: pa.Array) -> pa.Array:
    """Return the 16-byte hash of `start` and each message: fixed-size binary [num_rows]."""
    hasher = blake2b(start, digest_size=DIGEST_BYTES)
    digests = bytearray()
    for message in messages.to_pylist():
        own = hasher.copy()
        own.update(message)
        digests += own.digest()
    return pa.Array.from_buffers(DIGEST, len(messages), [None, pa.py_buffer(bytes(digests))])


def words_of(digests: pa.Array | pa.ChunkedArray) -> UIntArray:
    """Return the first 64 bits of 16-byte digests: uint64 [num_rows]."""
    array = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    if not len(array):
        return np.zeros(0, np.uint64)
    data = np.frombuffer(array.buffers()[1], dtype=">u8").reshape(-1, 2)
    return data[array.offset : array.offset + len(array), 0].astype(np.uint64)


def ranks_of_words(words: UIntArray, seed: int, label: str) -> UIntArray:
    """Return ranks that follow from 64 bits of a content hash, the seed, and what they are for: uint64 [num_rows]."""
    return spread(words ^ np.uint64(rank_of(seed, label)))


def spread(values: UIntArray) -> UIntArray:
    """Mix the bits of 64-bit numbers (the finalizer of splitmix64, Steele et al. 2014): equal in, equal out."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def keys_of_texts(texts: pa.Array | pa.ChunkedArray) -> UIntArray:
    """Return 64-bit hashes of texts for finding equal ones, not for naming them: uint64 [num_rows].

    pandas' SipHash: a fifth of blake2b's time; two of ten million texts share a hash once in 400,000 tries.
    """
    import pandas as pd

    return pd.util.hash_array(np.asarray(texts, dtype=object), categorize=False)
