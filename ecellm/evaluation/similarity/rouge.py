"""ROUGE-L: the longest common subsequence of words (Lin 2004), by Google's `rouge-score`.

Its default tokenizer: lower case, everything but a-z and 0-9 separates words; no stemmer. A text without such words
scores 0. With a longest common subsequence of l words of an answer's a and a reference's r: recall l / r,
precision l / a, F-measure 2 l / (r + a). Time and memory grow with the product of both texts' words (10,000 in each
take 1.7 GB): of longer texts the first 2,000 words count.
"""

from collections.abc import Sequence
from importlib.util import find_spec

from ecellm.evaluation.similarity.texts import TextPair

_MOST_WORDS = 2000


def is_installed() -> bool:
    """Tell whether this process can compute ROUGE-L."""
    return find_spec("rouge_score") is not None


class RougeL:
    """Computes ROUGE-L's F-measure."""

    metric_names = ("rouge_l",)

    def __init__(self) -> None:
        """Load the library."""
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        self._tokenizer = DefaultTokenizer(use_stemmer=False)
        self._scorer = RougeScorer(["rougeL"], tokenizer=self._tokenizer)

    def score(self, pairs: Sequence[TextPair]) -> dict[str, list[float]]:
        """Return the figure of each pair, 0 to 1."""
        scores = (self._scorer.score(self._bounded(pair.reference), self._bounded(pair.answer)) for pair in pairs)
        return {"rouge_l": [float(score["rougeL"].fmeasure) for score in scores]}

    def _bounded(self, text: str) -> str:
        return " ".join(self._tokenizer.tokenize(text)[:_MOST_WORDS])
