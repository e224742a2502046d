"""The texts of a pool that are most like given ones: candidates that are hard to tell from the right answer.

Likeness is the cosine of hashed character 3-grams (scikit-learn's HashingVectorizer, which needs no pass over the pool
beforehand). The pool goes by file by file, so memory holds one file, and the best so far of each text.
"""

from collections.abc import Sequence

import numpy as np

from ecellm.dataset.builders.exchange import IntArray
from ecellm.dataset.builders.flow import Context
from ecellm.dataset.builders.item_texts import iter_pool

_TEXTS_AT_A_TIME = 128
_POOL_AT_A_TIME = 20_000
_FEATURES = 1 << 18


def most_similar(context: Context, domain: str, sizes: Sequence[int], texts: Sequence[str], count: int) -> IntArray:
    """Return the numbers of the `count` pool texts that are most like each text: int64 [len(texts), count].

    Args:
        context: of the build.
        domain: whose pool.
        sizes: texts in each file of the pool; at least `count` together.
        texts: texts to compare with, quoted as the pool's; itself, if it is in the pool, is among its own most similar.
        count: how many.
    """
    # Two seconds to load, and only asked for on request.
    from sklearn.feature_extraction.text import HashingVectorizer

    unique = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    if not unique:
        return np.zeros((0, count), np.int64)
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), n_features=_FEATURES, dtype=np.float32)
    vectors = vectorizer.transform(unique)
    best = np.full((len(unique), count), -1.0, np.float32)
    numbers = np.full((len(unique), count), -1, np.int64)
    for start, table in iter_pool(context, domain, sizes):
        pool_texts = table["quoted"].to_pylist()
        for first in range(0, len(pool_texts), _POOL_AT_A_TIME):
            part = vectorizer.transform(pool_texts[first : first + _POOL_AT_A_TIME]).T.tocsr()
            for row in range(0, len(unique), _TEXTS_AT_A_TIME):
                rows = slice(row, row + _TEXTS_AT_A_TIME)
                scores = (vectors[rows] @ part).toarray()
                best[rows], numbers[rows] = _merge(best[rows], numbers[rows], scores, start + first)
    return numbers[[unique[text] for text in texts]]


def _merge(best: np.ndarray, numbers: np.ndarray, scores: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge the best so far with the scores of more texts; of equals the lower number stays."""
    count = best.shape[1]
    keep = min(count, scores.shape[1])
    places = np.argsort(-scores, axis=1, kind="stable")[:, :keep]
    all_scores = np.concatenate([best, np.take_along_axis(scores, places, axis=1)], axis=1)
    all_numbers = np.concatenate([numbers, places + first], axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(all_scores, order, axis=1), np.take_along_axis(all_numbers, order, axis=1)
