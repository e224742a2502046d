"""TF-IDF with logistic regression, for tasks with a closed set of answers."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from ecellm.baselines.floors.words import words_of
from ecellm.baselines.sample_texts import Row, answer_of, class_of, text_pair
from ecellm.tasks import Task

_MOST_FEATURES = 100_000


def features(sample_input: str) -> list[str]:
    """Return the terms of a sample.

    Of one text: words and pairs of neighbours. Of two texts (a query and a product, two products, a question and its
    snippets): the words of each, marked by their side, and those that both have, marked as shared.
    """
    first, second = text_pair(sample_input)
    words = words_of(first)
    if second is None:
        return [*words, *map(" ".join, pairwise(words))]
    others = words_of(second)
    shared = {*words} & {*others}
    return [*(f"1 {word}" for word in words), *(f"2 {word}" for word in others), *(f"both {word}" for word in shared)]


def train(task: Task, rows: Sequence[Row]) -> Callable[[Sequence[Row]], list[str]] | None:
    """Fit scikit-learn's TF-IDF (sublinear term counts) and logistic regression (C=10); None with a single class."""
    # scikit-learn takes a second to load.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labelled = [(row["input"], found) for row in rows if (found := class_of(task, row)) is not None]
    texts, classes = zip(*labelled, strict=True) if labelled else ((), ())
    if len(set(classes)) < 2:
        return None
    model = make_pipeline(
        TfidfVectorizer(analyzer=features, sublinear_tf=True, max_features=_MOST_FEATURES),
        LogisticRegression(C=10, max_iter=300),
    )
    model.fit(texts, classes)

    def answer(asked: Sequence[Row]) -> list[str]:
        predicted = model.predict([row["input"] for row in asked]) if asked else ()
        return [answer_of(task, row, str(name)) for row, name in zip(asked, predicted, strict=True)]

    return answer
