"""Near duplicates: inputs that share most of their word 3-shingles, found by MinHash and locality-sensitive hashing.

datasketch does the hashing: the field's usual library for it. The first rows of each split are looked at, which are a
random sample of it: all rows of a whole-Amazon build would cost more than the build.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ecellm.dataset.builders.flow import Context, Result, Step
from ecellm.dataset.marks import read_marks
from ecellm.dataset.selection import Piece, Selected, SplitKey, cut_pieces, iter_rows
from ecellm.storage import join

SIMILARITY = 0.8  # estimated Jaccard similarity of the sets of shingles
_PERMUTATIONS = 64
_SHINGLE_WORDS = 3
_COST_OF_A_ROW = 30_000  # as in the parts that are written at the same time: in bytes of text


def near_duplicate_steps(chosen: Mapping[SplitKey, Selected], most_rows: int, *, drops_leaks: bool) -> list[Step]:
    """Return the steps that look for near duplicates among kept rows, one a task; none if `most_rows` is 0."""
    if not most_rows:
        return []
    splits_of: dict[str, dict[str, Any]] = {}
    for number, (key, selected) in enumerate(chosen.items()):
        count = min(most_rows, selected.num_rows)
        splits_of.setdefault(key.task, {})[str(number)] = {
            "pieces": cut_pieces(selected.pieces, 0, count),
            "is_train": key.split == "train",
            "is_test": key.split == "test",
            "rows": count,
        }
    return [
        Step(
            join("near_duplicates", task),
            find_near_duplicates,
            {"splits": splits, "drops_leaks": drops_leaks},
            cost=_COST_OF_A_ROW * sum(own["rows"] for own in splits.values()),
        )
        for task, splits in splits_of.items()
    ]


def find_near_duplicates(context: Context, *, splits: Mapping[str, Mapping[str, Any]], drops_leaks: bool) -> Result:
    """Step: count the rows of a task's splits that have a near duplicate; exact duplicates do not count.

    Args:
        context: of the build.
        splits: `pieces` and `rows` of the first rows of each split, by split number; `is_train`, `is_test`.
        drops_leaks: whether train rows that leak are left out.

    Returns:
        `within`: by split number [rows with one in their own split, rows looked at]; `in_train`: the same for test
        rows with one among the train rows.
    """
    hashes = {}
    for number, own in splits.items():
        is_kept = read_marks(context, int(number), drops_leaks=drops_leaks).is_kept(0, own["rows"])
        hashes[number] = _hash_inputs(context, own["pieces"], pa.array(is_kept))
    indices = {number: _index(own) for number, own in hashes.items()}
    train = next((number for number, own in splits.items() if own["is_train"]), None)
    within, in_train = {}, {}
    for number, own in splits.items():
        within[number] = [_count(hashes[number], indices[number]), len(hashes[number])]
        if own["is_test"] and train is not None:
            in_train[number] = [_count(hashes[number], indices[train]), len(hashes[number])]
    return {"within": within, "in_train": in_train}


def _hash_inputs(context: Context, pieces: Sequence[Piece], is_kept: pa.Array) -> list[tuple[int, Any]]:
    """Return (key of the input, MinHash) of each row that is kept."""
    from datasketch import MinHash

    table = pa.concat_tables(list(iter_rows(context.storage, pieces, ["input_key", "input"]))).filter(is_kept)
    shingles = [_shingles(text) for text in table["input"].to_pylist()]
    hashes = MinHash.bulk(shingles, num_perm=_PERMUTATIONS, seed=1)
    return list(zip(table["input_key"].to_pylist(), hashes, strict=True))


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
