"""Sequential Recommendation, last step: the examples of some users.

Each user gives a history, the product bought next, and 19 others drawn from the domain's pool: 22 different numbers
are drawn by hash, their texts fetched, and the user's last three purchases left out, so that the cost of a draw does
not depend on the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.dataset.builders import similar
from ecellm.dataset.builders.exchange import STAGED_OPTIONS, IntArray
from ecellm.dataset.builders.flow import Context, Result
from ecellm.dataset.builders.item_texts import Texts, fetch_items, fetch_pool
from ecellm.dataset.builders.purchases import read_sequences
from ecellm.dataset.builders.ranked import RANKED, Columns, ranked_table
from ecellm.dataset.hashing import UIntArray, spread
from ecellm.settings import SPLITS
from ecellm.tasks.sequential_recommendation import LETTERS, NUM_CANDIDATES, ORDINALS, TASK, list_reprs

_LAST = 3
NUM_DRAWS = NUM_CANDIDATES - 1 + _LAST
_USERS_AT_A_TIME = 4000
_LETTERS = pa.array(list(LETTERS), pa.string())
_ORDINALS = pa.array(ORDINALS, pa.string())


def make_examples(
    context: Context,
    *,
    domain: str,
    category: str,
    bucket: int,
    first_user: int,
    wanted: Mapping[str, Sequence[int]],
    targets: Mapping[str, int],
    pool: Sequence[int],
    is_hard: bool,
) -> Result:
    """Step: make the examples of a bucket's users, in the order of ranks.

    Args:
        context: of the build.
        domain: IND or OOD.
        category: product category.
        bucket: of users.
        first_user: place of the bucket's first user among the category's.
        wanted: (first, end) of the places of the users of each split.
        targets: where each split's target stands from the end.
        pool: texts in each file of the domain's pool.
        is_hard: whether candidates are the most similar texts rather than random ones.
    """
    users, ranks, offsets, items = read_sequences(context, category, bucket)
    own = {
        split: np.arange(max(first - first_user, 0), max(0, min(end - first_user, len(users))))
        for split, (first, end) in wanted.items()
    }
    everyone = np.unique(np.concatenate(list(own.values()))).astype(np.int64)
    names = fetch_items(context, category, items[_flat(offsets[everyone], offsets[everyone + 1])])
    draws: dict[str, IntArray] = {}
    for split, places in own.items():
        if is_hard:
            codes = items[offsets[places + 1] - targets[split]]
            draws[split] = similar.most_similar(
                context, domain, pool, names.take("quoted", codes).to_pylist(), NUM_DRAWS
            )
        else:
            draws[split] = draw_distinct(_keys(ranks[places], split), sum(pool), NUM_DRAWS)
    texts = fetch_pool(context, domain, pool, np.concatenate([part.ravel() for part in draws.values()]))
    buckets = {}
    for split, places in own.items():
        keys = _keys(ranks[places], split)
        chunk = Chunk(
            users.take(pa.array(places)), ranks[places], keys, items, offsets[places], offsets[places + 1], draws[split]
        )
        path = context.staging("ranked", TASK.short_name, category, split, f"{bucket:05d}.parquet")
        num_chars = _write_examples(
            context, path, category=category, chunk=chunk, target=targets[split], names=names, texts=texts
        )
        buckets[split] = [path, len(places), num_chars]
    return {"rows": sum(len(places) for places in own.values()), "buckets": buckets}


def _write_examples(
    context: Context, path: str, *, category: str, chunk: "Chunk", target: int, names: Texts, texts: Texts
) -> int:
    """Publish the examples of one split, some thousand users at a time; return their characters."""
    num_chars = 0
    with context.storage.table_writer(path, RANKED, **STAGED_OPTIONS) as writer:
        for start in range(0, len(chunk.users), _USERS_AT_A_TIME):
            some = chunk.part(start, start + _USERS_AT_A_TIME)
            columns = examples_of(some, target, names, texts)
            table = ranked_table(TASK.name, columns, seed=context.seed, category=category, ranks=some.ranks)
            num_chars += int(table["num_chars"].to_numpy().sum())
            writer.write_table(table)
    return num_chars


def _flat(starts: IntArray, ends: IntArray) -> IntArray:
    """Return the places of several runs, one after the other."""
    counts = ends - starts
    firsts = np.cumsum(counts) - counts
    return np.repeat(starts - firsts, counts) + np.arange(counts.sum())


def _keys(ranks: UIntArray, split: str) -> UIntArray:
    """Return what all draws for (user, split) follow from; a rank holds the seed already."""
    return spread(ranks ^ spread(np.full(1, SPLITS.index(split) + 1, np.uint64)))


def draw_distinct(keys: UIntArray, size: int, count: int) -> IntArray:
    """Draw `count` different numbers below `size` for each key, each set as likely as any other: int64 [keys, count].

    More are drawn than needed and repeated ones skipped; the few rows where that does not do, in small pools, are
    drawn again as a whole.
    """
    spare = count + 10
    with np.errstate(over="ignore"):
        numbers = np.add(keys[:, None], np.arange(1, spare + 1, dtype=np.uint64), dtype=np.uint64)
        draws = (spread(numbers) % np.uint64(size)).astype(np.int64)
    order = np.argsort(draws, axis=1, kind="stable")
    in_order = np.take_along_axis(draws, order, axis=1)
    is_new = np.ones(draws.shape, bool)
    np.put_along_axis(is_new, order[:, 1:], in_order[:, 1:] != in_order[:, :-1], axis=1)
    is_taken = is_new & (np.cumsum(is_new, axis=1) <= count)
    is_full = is_taken.sum(axis=1) == count
    result = np.empty((len(keys), count), np.int64)
    result[is_full] = draws[is_full][is_taken[is_full]].reshape(-1, count)
    for row in np.flatnonzero(~is_full):
        result[row] = np.random.default_rng(int(keys[row])).permutation(size)[:count]
    return result


@dataclass(frozen=True)
class Chunk:
    """Some users of a bucket with what was drawn for them.

    Attributes:
        users: string [num_users].
        ranks: uint64 [num_users].
        keys: uint64 [num_users], what the draws and the order of the options follow from.
        items: int64, the purchases of the whole bucket.
        starts: int64 [num_users], each user's first purchase in `items`.
        ends: int64 [num_users], behind the last.
        draws: int64 [num_users, 22], numbers of pool texts.
    """

    users: pa.Array
    ranks: UIntArray
    keys: UIntArray
    items: IntArray
    starts: IntArray
    ends: IntArray
    draws: IntArray

    def part(self, first: int, end: int) -> "Chunk":
        """Return some of the users."""
        own = slice(first, end)
        users = self.users.slice(first, end - first)
        return Chunk(
            users, self.ranks[own], self.keys[own], self.items, self.starts[own], self.ends[own], self.draws[own]
        )


def examples_of(chunk: Chunk, target: int, names: Texts, texts: Texts) -> Columns:
    """Return the examples of some users, one each.

    Args:
        chunk: the users.
        target: where the target stands from the end of the purchases.
        names: texts of the items by code.
        texts: texts of the pool by number.
    """
    num_users = len(chunk.users)
    candidates = _candidates(chunk, names, texts)
    with np.errstate(over="ignore"):
        mixed = spread(np.add(spread(chunk.keys)[:, None], np.arange(NUM_CANDIDATES, dtype=np.uint64), dtype=np.uint64))
    order = np.argsort(mixed, axis=1)  # place 0 is the target, the others the candidates
    goals = chunk.items[chunk.ends - target]
    both = pa.concat_arrays([names.take("quoted", goals), candidates])
    firsts = np.arange(num_users)[:, None]
    flat = np.where(order == 0, firsts, num_users + firsts * (NUM_CANDIDATES - 1) + order - 1)
    letters = pa.array(np.tile(np.arange(NUM_CANDIDATES), num_users))
    lengths = chunk.ends - target - chunk.starts
    history = names.take("quoted", chunk.items[_flat(chunk.starts, chunk.ends - target)])
    ordinals = pa.array(_flat(np.zeros(num_users, np.int64), lengths))
    users = pc.binary_join_element_wise("user ", chunk.users, "")
    ids = pa.concat_arrays([names.take("asin", goals), users]).take(
        pa.array(np.stack([np.arange(num_users), num_users + np.arange(num_users)], axis=1).ravel())
    )
    return Columns(
        inputs=list_reprs(_ORDINALS.take(ordinals), history, lengths),
        outputs=_LETTERS.take(pa.array((order == 0).argmax(axis=1))),
        options=list_reprs(
            _LETTERS.take(letters), both.take(pa.array(flat.ravel())), np.full(num_users, NUM_CANDIDATES)
        ),
        source_ids=pa.ListArray.from_arrays(np.arange(0, 2 * num_users + 1, 2, dtype=np.int32), ids),
    )


def _candidates(chunk: Chunk, names: Texts, texts: Texts) -> pa.Array:
    """Return the texts of the 19 drawn for each user, flat: the first that are none of the last three purchases."""
    num_users = len(chunk.users)
    last = chunk.items[(chunk.ends[:, None] - np.arange(1, _LAST + 1)).ravel()]
    excluded = names.take("key", last).to_numpy().reshape(num_users, _LAST)
    drawn = texts.take("key", chunk.draws).to_numpy().reshape(num_users, NUM_DRAWS)
    is_kept = ~(drawn[:, :, None] == excluded[:, None, :]).any(axis=2)
    is_kept &= np.cumsum(is_kept, axis=1) < NUM_CANDIDATES
    return texts.take("quoted", chunk.draws[is_kept])
