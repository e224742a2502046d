"""Near duplicates: inputs that share most of their word 3-shingles, found by MinHash and locality-sensitive hashing.

datasketch does the hashing: the field's usual library for it. The first rows of each split are looked at, which are a
random sample of it: all rows of a whole-Amazon build would cost more than the build.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.selection import Piece, Selected, SplitKey, cut_pieces, iter_rows
from ecellm.storage import join

SIMILARITY = 0.8  # estimated Jaccard similarity of the sets of shingles
_PERMUTATIONS = 64
_SHINGLE_WORDS = 3


def near_duplicate_steps(chosen: Mapping[SplitKey, Selected], most_rows: int) -> list[Step]:
    """Return the steps that look for near duplicates, one a task; none if `most_rows` is 0."""
    if not most_rows:
        return []
    splits_of: dict[str, dict[str, Any]] = {}
    for number, (key, selected) in enumerate(chosen.items()):
        count = min(most_rows, selected.num_rows)
        splits_of.setdefault(key.task, {})[str(number)] = {
            "pieces": cut_pieces(selected.pieces, 0, count),
            "is_train": key.split == "train",
            "is_test": key.split == "test",
        }
    return [
        Step(join("near_duplicates", task), find_near_duplicates, {"splits": splits}, cost=most_rows)
        for task, splits in splits_of.items()
    ]


def find_near_duplicates(context: Context, *, splits: Mapping[str, Mapping[str, Any]]) -> Result:
    """Step: count the rows of a task's splits that have a near duplicate; exact duplicates do not count.

    Returns:
        `within`: by split number [rows with one in their own split, rows looked at]; `in_train`: the same for test
        rows with one among the train rows.
    """
    hashes = {number: _hash_inputs(context, own["pieces"]) for number, own in splits.items()}
    indices = {number: _index(own) for number, own in hashes.items()}
    train = next((number for number, own in splits.items() if own["is_train"]), None)
    within, in_train = {}, {}
    for number, own in splits.items():
        within[number] = [_count(hashes[number], indices[number]), len(hashes[number])]
        if own["is_test"] and train is not None:
            in_train[number] = [_count(hashes[number], indices[train]), len(hashes[number])]
    return {"within": within, "in_train": in_train}


def _hash_inputs(context: Context, pieces: Sequence[Piece]) -> list[tuple[int, Any]]:
    """Return (key of the input, MinHash) of each row."""
    from datasketch import MinHash

    result = []
    for table in iter_rows(context.storage, pieces, ["input_key", "input"]):
        shingles = [_shingles(text) for text in table["input"].to_pylist()]
        hashes = MinHash.bulk(shingles, num_perm=_PERMUTATIONS, seed=1)
        result += list(zip(table["input_key"].to_pylist(), hashes, strict=True))
    return result


def _shingles(text: str) -> list[bytes]:
    words = text.lower().split()
    count = max(1, len(words) - _SHINGLE_WORDS + 1)
    return list({" ".join(words[place : place + _SHINGLE_WORDS]).encode() for place in range(count)})


def _index(hashes: Sequence[tuple[int, Any]]) -> Any:
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=SIMILARITY, num_perm=_PERMUTATIONS)
    with index.insertion_session() as session:
        for place, (key, minhash) in enumerate(hashes):
            session.insert((place, key), minhash, check_duplication=False)
    return index


def _count(hashes: Sequence[tuple[int, Any]], index: Any) -> int:
    """Count rows with a match of another input in an index."""
    return sum(any(other != key for _, other in index.query(minhash)) for key, minhash in hashes)
