"""Query product ranking: NDCG worked out by hand, and the scorer's way with commas."""

import itertools
import json
from math import log2

import pytest
from sklearn.metrics import ndcg_score

from ecellm.tasks import task_named
from ecellm.tasks.ranking_scorers import NO_LABELS

TASK = task_named("QPR")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")
SAMPLE = {
    "input": json.dumps({"query": "q", "product list": ["A: x", "B: y", "C: z"]}),
    "output": "C,A,B",
    "relevance": ["S", "I", "E"],
}
E_GAIN, S_GAIN, C_GAIN = 1.0, 2**0.1 - 1, 2**0.01 - 1


def ndcg(answer, sample=SAMPLE):
    return RELEASED.score(sample, answer).components["ndcg"]


def test_ndcg_by_hand():
    ideal = E_GAIN + S_GAIN / log2(3)
    assert ndcg("C,A,B") == pytest.approx(ideal / (ideal + 1e-6), abs=1e-12)
    worst = 0 / 1 + S_GAIN / log2(3) + E_GAIN / log2(4)  # B,A,C = I, S, E
    assert ndcg("B,A,C") == pytest.approx(worst / (ideal + 1e-6), abs=1e-12)
    assert worst / ideal == pytest.approx(0.521661, abs=1e-6)


def test_only_the_first_character_of_a_part_counts():
    row = RELEASED.score(SAMPLE, "A, C")  # the second part begins with a space: only S is kept, and is its own ideal
    assert (row.parsed, row.num_invalid, row.is_valid) == ("A", 1, True)
    assert row.components["ndcg"] == pytest.approx(S_GAIN / (S_GAIN + 1e-6))
    row = RELEASED.score(SAMPLE, "Axe,,D,C: z")
    assert (row.parsed, row.num_invalid) == ("A,C", 2)


def test_a_repeated_letter_counts_again():
    ideal = E_GAIN + E_GAIN / log2(3)
    assert ndcg("C,C") == pytest.approx(ideal / (ideal + 1e-6))


def test_nothing_kept_is_zero_and_stays_in_the_mean():
    rows = [RELEASED.score(SAMPLE, "C"), RELEASED.score(SAMPLE, "")]
    assert rows[1].components["ndcg"] == 0
    assert (rows[1].parsed, rows[1].num_invalid) == (None, 1)
    mean = RELEASED.metrics(RELEASED.statistics(rows).sum(0))["ndcg"]
    assert float(mean) == pytest.approx(1 / (1 + 1e-6) / 2)


def test_complements_and_unknown_labels():
    sample = {**SAMPLE, "relevance": ["C", "?"]}
    assert ndcg("A", sample) == pytest.approx(C_GAIN / (C_GAIN + 1e-6))
    assert RELEASED.score(sample, "B,A").num_invalid == 1


def test_without_labels_there_is_no_ndcg_and_a_reason():
    rows = [RELEASED.score({**SAMPLE, "relevance": None}, "C,B,D"), RELEASED.score(SAMPLE, "C")]
    assert (rows[0].components["ndcg"], rows[0].parsed, rows[0].num_invalid) == (None, "C,B", 1)
    assert RELEASED.unavailable(rows) == {"ndcg": NO_LABELS}
    assert RELEASED.unavailable(rows[1:]) == {}
    assert RELEASED.score({**SAMPLE, "relevance": None, "input": "no json"}, "A").parsed is None


def test_trivial_answers_rank_all_candidates():
    samples = [{**SAMPLE, "relevance": None}] * 50
    floors = TASK.trivial_answers(samples, 2)
    assert floors["listed-order"] == ["A,B,C"] * 50
    assert len(set(floors["random-order"])) == 6
    assert all(sorted(answer.split(",")) == ["A", "B", "C"] for answer in floors["random-order"])


def strict_ndcg(answer, sample=SAMPLE):
    return STRICT.score(sample, answer).components["ndcg"]


@pytest.mark.parametrize("labels", [*itertools.permutations("ESCI"), ("S", "I"), ("C", "I", "E"), ("E", "E", "I")])
def test_strict_ndcg_of_full_orders_is_that_of_scikit_learn(labels):
    gain = {"E": E_GAIN, "S": S_GAIN, "C": C_GAIN, "I": 0}
    letters = "ABCD"[: len(labels)]
    for order in itertools.permutations(letters):
        expected = ndcg_score([[gain[label] for label in labels]], [[-order.index(letter) for letter in letters]])
        sample = {**SAMPLE, "relevance": list(labels)}
        assert strict_ndcg(",".join(order), sample) == pytest.approx(expected)


def test_strict_ndcg_by_hand_puts_what_is_not_named_last_and_the_least_relevant_first():
    ideal = E_GAIN + S_GAIN / log2(3)  # the labels are S, I, E
    assert strict_ndcg("C,A,B") == 1
    assert strict_ndcg("A") == pytest.approx((S_GAIN + E_GAIN / log2(4)) / ideal)  # A, then B, then C
    assert strict_ndcg("C") == pytest.approx((E_GAIN + S_GAIN / log2(4)) / ideal)
    assert strict_ndcg("B") == pytest.approx(strict_ndcg("B,A,C"))
    assert ndcg("A") > 0.99 > strict_ndcg("A")  # the released ideal is one of what was kept


def test_strict_parts_may_have_spaces_and_repeats_are_ignored():
    row = STRICT.score(SAMPLE, " C , A: x,C, Axe, D,, B.")
    assert (row.parsed, row.num_invalid, row.is_valid) == ("C,A,B", 3, True)
    assert row.components["ndcg"] == 1
    assert strict_ndcg("C,C,C,A,B") == 1


def test_a_strict_answer_that_names_no_candidate_is_zero_and_stays_in_the_mean():
    rows = [STRICT.score(SAMPLE, "C,A,B"), STRICT.score(SAMPLE, "none of them"), STRICT.score(SAMPLE, "")]
    assert [(row.parsed, row.is_valid, row.num_invalid) for row in rows[1:]] == [(None, False, 1)] * 2
    assert float(STRICT.metrics(STRICT.statistics(rows).sum(0))["ndcg"]) == pytest.approx(1 / 3)
    assert strict_ndcg("B,A,C") > 0


def test_without_a_relevant_candidate_there_is_nothing_to_earn():
    assert strict_ndcg("A,B", {**SAMPLE, "relevance": ["I", "I"]}) == 0


def test_strict_ndcg_needs_a_known_label_for_every_candidate():
    rows = [STRICT.score({**SAMPLE, "relevance": labels}, "B,A") for labels in (None, [], ["C", "?"], ["S", "E"])]
    assert [row.components["ndcg"] for row in rows] == [None, None, None, 1]
    assert rows[0].parsed == "B,A"
    assert STRICT.unavailable(rows) == {"ndcg": NO_LABELS}
    assert STRICT.unavailable(rows[3:]) == {}
