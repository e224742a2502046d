"""Answer generation: figures come from elsewhere; what is not there is absent with a reason."""

from math import inf, nan

import pytest

from ecellm.tasks import FLAVOURS, task_named
from ecellm.tasks.similarity_scorers import METRIC_NAMES, NOT_COMPUTED

TASK = task_named("AG")
RELEASED, STRICT = TASK.scorer("released"), TASK.scorer("strict")
SAMPLE = {"output": "It is blue."}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_without_similarity_all_metrics_are_unavailable_with_a_reason(flavour):
    scorer = TASK.scorer(flavour)
    rows = [scorer.score(SAMPLE, " Blue. ")]
    assert (rows[0].parsed, rows[0].is_valid, rows[0].reference) == ("Blue.", True, "It is blue.")
    assert dict(rows[0].components) == {"bertscore_f1": None}
    assert scorer.unavailable(rows) == dict.fromkeys(METRIC_NAMES, NOT_COMPUTED)
    assert scorer.unavailable([]) == dict.fromkeys(METRIC_NAMES, NOT_COMPUTED)
    assert scorer.statistics([]).shape == (0, 2 * len(METRIC_NAMES))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_metrics_are_means_and_need_a_figure_of_every_row(flavour):
    scorer = TASK.scorer(flavour)
    rows = [scorer.with_similarity(scorer.score(SAMPLE, "x"), {"bertscore_f1": f1, "rouge_l": 1}) for f1 in (0.25, 0.5)]
    metrics = scorer.metrics(scorer.statistics(rows).sum(0))
    assert (metrics["bertscore_f1"], metrics["rouge_l"]) == (0.375, 1)
    assert set(scorer.unavailable(rows)) == {"bertscore_recall", "bertscore_precision", "bleurt"}
    rows.append(scorer.with_similarity(scorer.score(SAMPLE, "x"), {"bertscore_f1": 0.5}))
    assert scorer.unavailable(rows)["rouge_l"] == "not computed for 1 of 3 answers"
    assert scorer.metrics(scorer.statistics(rows).sum(0))["bertscore_f1"] == pytest.approx(1.25 / 3)


def test_an_empty_answer_is_what_the_models_say_or_strictly_zero():
    values = dict.fromkeys(METRIC_NAMES, 0.5)
    released, strict = (scorer.with_similarity(scorer.score(SAMPLE, " \n"), values) for scorer in (RELEASED, STRICT))
    assert (dict(released.components), released.is_valid, released.num_invalid) == (values, True, 0)
    assert dict(strict.components) == dict.fromkeys(METRIC_NAMES, 0)
    assert (strict.parsed, strict.is_valid, strict.num_invalid) == (None, False, 1)
    rows = [strict, STRICT.with_similarity(STRICT.score(SAMPLE, "Blue."), values)]
    assert STRICT.metrics(STRICT.statistics(rows).sum(0)) == dict.fromkeys(METRIC_NAMES, 0.25)
    assert STRICT.unavailable(rows) == {}


@pytest.mark.parametrize("scorer", [RELEASED, STRICT])
def test_what_is_no_number_is_missing_and_a_wrong_name_is_refused(scorer):
    row = scorer.score(SAMPLE, "Blue.")
    rows = [scorer.with_similarity(row, {"bleurt": value}) for value in (nan, inf, -0.1)]
    assert scorer.unavailable(rows)["bleurt"] == "not computed for 2 of 3 answers"
    assert scorer.with_similarity(row, {}) == row
    with pytest.raises(ValueError, match="unknown similarity bertscore; known: bertscore_recall"):
        scorer.with_similarity(row, {"bertscore": 1.0})


def test_the_trivial_answer_is_the_true_one_to_another_question():
    samples = [{"output": str(number)} for number in range(30)]
    (answers,) = TASK.trivial_answers(samples, 3).values()
    assert TASK.trivial_answers(samples, 3) == {"another-answer": answers} != TASK.trivial_answers(samples, 4)
    assert set(answers) <= {sample["output"] for sample in samples}
    assert all(answer != sample["output"] for answer, sample in zip(answers, samples, strict=True))
    assert TASK.trivial_answers(samples[:2], 0) == {"another-answer": ["1", "0"]}
    assert TASK.trivial_answers(samples[:1], 0) == TASK.trivial_answers([], 0) == {}


def test_every_other_answer_is_equally_likely():
    samples = [{"output": letter} for letter in "ABC"]
    firsts = [TASK.trivial_answers(samples, seed)["another-answer"][0] for seed in range(400)]
    assert {*firsts} == {"B", "C"}
    assert 150 < firsts.count("B") < 250  # 200 within five standard deviations
