"""Query product ranking: NDCG worked out by hand, and the scorer's way with commas."""

import json
from math import log2

import pytest

from ecellm.tasks import task_named
from ecellm.tasks.query_product_ranking import NO_LABELS

TASK = task_named("QPR")
SAMPLE = {
    "input": json.dumps({"query": "q", "product list": ["A: x", "B: y", "C: z"]}),
    "output": "C,A,B",
    "relevance": ["S", "I", "E"],
}
E_GAIN, S_GAIN, C_GAIN = 1.0, 2**0.1 - 1, 2**0.01 - 1


def ndcg(answer, sample=SAMPLE):
    return TASK.score(sample, answer).components["ndcg"]


def test_ndcg_by_hand():
    ideal = E_GAIN + S_GAIN / log2(3)
    assert ndcg("C,A,B") == pytest.approx(ideal / (ideal + 1e-6), abs=1e-12)
    worst = 0 / 1 + S_GAIN / log2(3) + E_GAIN / log2(4)  # B,A,C = I, S, E
    assert ndcg("B,A,C") == pytest.approx(worst / (ideal + 1e-6), abs=1e-12)
    assert worst / ideal == pytest.approx(0.521661, abs=1e-6)


def test_only_the_first_character_of_a_part_counts():
    row = TASK.score(SAMPLE, "A, C")  # the second part begins with a space: only S is kept, and is its own ideal
    assert (row.parsed, row.num_invalid, row.is_valid) == ("A", 1, True)
    assert row.components["ndcg"] == pytest.approx(S_GAIN / (S_GAIN + 1e-6))
    row = TASK.score(SAMPLE, "Axe,,D,C: z")
    assert (row.parsed, row.num_invalid) == ("A,C", 2)


def test_a_repeated_letter_counts_again():
    ideal = E_GAIN + E_GAIN / log2(3)
    assert ndcg("C,C") == pytest.approx(ideal / (ideal + 1e-6))


def test_nothing_kept_is_zero_and_stays_in_the_mean():
    rows = [TASK.score(SAMPLE, "C"), TASK.score(SAMPLE, "")]
    assert rows[1].components["ndcg"] == 0
    assert (rows[1].parsed, rows[1].num_invalid) == (None, 1)
    mean = TASK.metrics(TASK.statistics(rows).sum(0))["ndcg"]
    assert float(mean) == pytest.approx(1 / (1 + 1e-6) / 2)


def test_complements_and_unknown_labels():
    sample = {**SAMPLE, "relevance": ["C", "?"]}
    assert ndcg("A", sample) == pytest.approx(C_GAIN / (C_GAIN + 1e-6))
    assert TASK.score(sample, "B,A").num_invalid == 1


def test_without_labels_there_is_no_ndcg_and_a_reason():
    rows = [TASK.score({**SAMPLE, "relevance": None}, "C,B,D"), TASK.score(SAMPLE, "C")]
    assert (rows[0].components["ndcg"], rows[0].parsed, rows[0].num_invalid) == (None, "C,B", 1)
    assert TASK.unavailable(rows) == {"ndcg": NO_LABELS}
    assert TASK.unavailable(rows[1:]) == {}
    assert TASK.score({**SAMPLE, "relevance": None, "input": "no json"}, "A").parsed is None


def test_trivial_answers_rank_all_candidates():
    samples = [{**SAMPLE, "relevance": None}] * 50
    floors = TASK.trivial_answers(samples, 2)
    assert floors["listed-order"] == ["A,B,C"] * 50
    assert len(set(floors["random-order"])) == 6
    assert all(sorted(answer.split(",")) == ["A", "B", "C"] for answer in floors["random-order"])
