"""What holds for every scorer, whatever the rows: ranges, order, sums, and that nothing unreadable is rewarded."""

import itertools
import json
from string import ascii_uppercase

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecellm.tasks import FLAVOURS, RELEASED, STRICT, task_named
from ecellm.tasks.query_product_ranking import make_example
from ecellm.tasks.similarity_scorers import METRIC_NAMES, SimilarityScorer
from ecellm.tasks.wire_options import option_list

BASE = {"setting": "IND_Diverse_Instruction", "input": "{}", "options": None, "relevance": None}
GARBAGE = st.sampled_from(["", "?", "none of them", "[", "{}", "I do not know", "yes and no", "Zebra, Axe", "7"])
NO_TEXT = st.sampled_from(["", " \n", "### Response: x"])
QUICK = settings(max_examples=25, deadline=None)
# MPC's scorers are those of SA with other letters; PSI's and AP's are PM's.
TASKS = [task_named(name) for name in ("PM", "PRP", "SA", "SR", "QPR", "AVE", "AG")]
IN_EACH = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.short_name)
IN_BOTH = pytest.mark.parametrize("flavour", FLAVOURS)


def outputs(texts):
    return st.sampled_from(texts).map(lambda text: BASE | {"output": text})


def ranking(labels):
    example = make_example("q", [(label, "title") for label in labels], ())
    return BASE | {"input": example.input, "output": example.output, "relevance": list(labels)}


ITEM = st.sampled_from(
    [
        {"attribute": attribute, "value": value, "source": source}
        for attribute in ("color", "size")
        for value in ("red", "dark red", "None")
        for source in ("product title", "title")
    ]
)
ITEMS = st.lists(ITEM, max_size=4)
DISTINCT_ITEMS = st.lists(ITEM, max_size=4, unique_by=json.dumps)
EXTRACTION = st.builds(
    lambda items, setting: BASE | {"output": json.dumps(items), "setting": setting},
    ITEMS,
    st.sampled_from(["IND_Diverse_Instruction", "OOD_Diverse_Instruction"]),
)
LABELS = [labels for size in (2, 3, 4) for labels in itertools.permutations("ESCI", size)]
RANKING = st.sampled_from([ranking(labels) for labels in LABELS])
YES_OR_NO, FREE_TEXT = ["yes", "no"], ["It is blue.", "Yes, it fits.", "No."]
LETTERS_SR = list(ascii_uppercase[:20])
SAMPLES = {
    "PM": outputs(YES_OR_NO),
    "SA": outputs(option_list("SA")),
    "PRP": outputs(["A", "B", "C"]),
    "SR": outputs(LETTERS_SR),
    "QPR": RANKING,
    "AVE": EXTRACTION,
    "AG": outputs(FREE_TEXT),
}
# Answers in the form of the references, which both flavours read alike.
ANSWERS = {
    "PM": st.sampled_from(YES_OR_NO),
    "SA": st.sampled_from(option_list("SA")),
    "PRP": st.sampled_from(["A", "B", "C", "D"]),
    "SR": st.sampled_from(LETTERS_SR),
    "QPR": st.lists(st.sampled_from("ABCD"), min_size=1, max_size=5).map(",".join),
    "AVE": st.lists(ITEM | st.none() | st.integers(), max_size=4).map(json.dumps),
    "AG": st.sampled_from(FREE_TEXT),
}
SIMILARITY = st.fixed_dictionaries({name: st.floats(0, 1) for name in METRIC_NAMES})


@st.composite
def answered(draw, task, max_size=8):
    """Draw rows: sample, answer, and the figures that language models might give."""
    similarity = SIMILARITY if task.short_name == "AG" else st.just({})
    row = st.tuples(SAMPLES[task.short_name], ANSWERS[task.short_name] | GARBAGE, similarity)
    return draw(st.lists(row, min_size=1, max_size=max_size))


def score(scorer, row):
    sample, answer, values = row
    scored = scorer.score(sample, answer)
    return scorer.with_similarity(scored, values) if isinstance(scorer, SimilarityScorer) else scored


def statistics_of(scorer, rows):
    return scorer.statistics([score(scorer, row) for row in rows])


def metrics_of(scorer, rows):
    return {name: float(value) for name, value in scorer.metrics(statistics_of(scorer, rows).sum(0)).items()}


@IN_EACH
@IN_BOTH
@QUICK
@given(data=st.data())
def test_every_metric_is_there_and_in_its_range(task, flavour, data):
    scorer = task.scorer(flavour)
    rows = data.draw(answered(task))
    values = metrics_of(scorer, rows)
    assert tuple(values) == scorer.metric_names
    assert scorer.unavailable([score(scorer, row) for row in rows]) == {}
    # The released scorer of extractions counts a repeated prediction again.
    most = np.inf if (task.short_name, flavour) == ("AVE", RELEASED) else 1 + 1e-12
    assert all(0 <= value <= most for value in values.values())


@IN_EACH
@IN_BOTH
@QUICK
@given(data=st.data())
def test_the_order_of_rows_changes_nothing(task, flavour, data):
    scorer = task.scorer(flavour)
    rows = data.draw(answered(task))
    places = data.draw(st.permutations(range(len(rows))))
    shuffled = [rows[place] for place in places]
    np.testing.assert_array_equal(statistics_of(scorer, shuffled), statistics_of(scorer, rows)[places])
    assert metrics_of(scorer, shuffled) == pytest.approx(metrics_of(scorer, rows), abs=1e-12)


@IN_EACH
@IN_BOTH
@QUICK
@given(data=st.data())
def test_statistics_of_two_halves_add_up_to_those_of_the_whole(task, flavour, data):
    scorer = task.scorer(flavour)
    first, second = data.draw(answered(task)), data.draw(answered(task))
    sums = [statistics_of(scorer, rows).sum(0) for rows in (first, second, first + second)]
    np.testing.assert_allclose(sums[0] + sums[1], sums[2], rtol=1e-12)
    together = scorer.metrics(np.stack(sums))
    for place, own in enumerate(sums):
        assert {name: value[place] for name, value in together.items()} == scorer.metrics(own)


@IN_EACH
@QUICK
@given(data=st.data())
def test_the_true_answers_are_strictly_perfect(task, data):
    samples = data.draw(st.lists(SAMPLES[task.short_name], min_size=1, max_size=8))
    classes = {"PM": YES_OR_NO, "PRP": ["A", "B", "C"], "SA": option_list("SA")}  # one without rows would count, with 0
    samples += [BASE | {"output": text} for text in classes.get(task.short_name, ())]
    assume(task.short_name != "AVE" or any(sample["output"] != "[]" for sample in samples))
    rows = [(sample, sample["output"], dict.fromkeys(METRIC_NAMES, 1.0)) for sample in samples]
    assert metrics_of(task.scorer(STRICT), rows) == dict.fromkeys(task.scorer(STRICT).metric_names, 1)


@IN_EACH
@QUICK
@given(data=st.data())
def test_the_true_answers_are_perfect_as_released_but_for_its_epsilons(task, data):
    samples = data.draw(st.lists(SAMPLES[task.short_name], min_size=1, max_size=8))
    if task.short_name == "AVE":  # without labels that hit each other's predictions
        samples = [BASE | {"output": json.dumps([{"attribute": "color", "value": "red", "source": "title"}])}] * 3
    rows = [(sample, sample["output"], dict.fromkeys(METRIC_NAMES, 1.0)) for sample in samples]
    headline = "acc" if task.short_name == "PM" else task.headline_metric
    # The ideal of complements and irrelevant candidates alone is near 0.007, beside which 1e-6 is not quite nothing.
    assert metrics_of(task.scorer(RELEASED), rows)[headline] == pytest.approx(1, abs=2e-4)


NEVER_RAISED = {
    "PM": ("acc", "recall", "specificity"),
    "SA": ("acc", "recall"),
    "PRP": ("acc", "recall"),
    "SR": ("recall@1",),
    "QPR": ("ndcg",),
    "AVE": ("recall", "value_recall"),
    "AG": METRIC_NAMES,
}


@IN_EACH
@QUICK
@given(data=st.data())
def test_an_answer_that_cannot_be_read_is_never_rewarded_strictly(task, data):
    scorer = task.scorer(STRICT)
    rows = data.draw(answered(task))
    place = data.draw(st.integers(0, len(rows) - 1))
    sample, _, values = rows[place]
    garbage = data.draw(NO_TEXT if task.short_name == "AG" else GARBAGE | st.text(max_size=6))
    assume(not scorer.score(sample, garbage).is_valid)
    worse = [*rows[:place], (sample, garbage, values), *rows[place + 1 :]]
    before, after = metrics_of(scorer, rows), metrics_of(scorer, worse)
    assert all(after[name] <= before[name] + 1e-12 for name in NEVER_RAISED[task.short_name])
    scored = score(scorer, worse[place])
    components = ("hits", "value_hits") if task.short_name == "AVE" else tuple(scored.components)
    assert all(scored.components[name] == 0 for name in components)
    assert len(statistics_of(scorer, worse)) == len(rows)


@pytest.mark.parametrize("name", ["PM", "SA", "PRP", "SR"])
@QUICK
@given(data=st.data())
def test_leaving_rows_out_never_lowers_the_released_figure(name, data):
    task = task_named(name)
    rows = data.draw(answered(task))
    metric = "recall@1" if name == "SR" else "acc"
    released, strict = (metrics_of(task.scorer(flavour), rows)[metric] for flavour in (RELEASED, STRICT))
    num_read = sum(task.scorer(RELEASED).score(sample, answer).is_valid for sample, answer, _ in rows)
    assert released >= strict - 1e-12
    assert strict == pytest.approx(released * num_read / len(rows))


@pytest.mark.parametrize("labels", LABELS, ids="".join)
def test_any_ranking_is_between_the_worst_and_the_best(labels):
    sample, scorer = ranking(labels), task_named("QPR").scorer(STRICT)
    best = sample["output"].split(",")
    ndcg = {
        order: scorer.score(sample, ",".join(order)).components["ndcg"]
        for order in itertools.permutations(sorted(best))
    }
    assert ndcg[tuple(best)] == max(ndcg.values()) == 1
    assert ndcg[tuple(best[::-1])] == min(ndcg.values()) > 0
    assert len(set(ndcg.values())) == len(ndcg)  # distinct labels: no two orders are worth the same


@QUICK
@given(sample=RANKING, data=st.data())
def test_leaving_candidates_out_never_earns_more_than_naming_them_in_any_order(sample, data):
    scorer = task_named("QPR").scorer(STRICT)
    letters = sorted(sample["output"].split(","))
    named = data.draw(st.permutations(letters))[: data.draw(st.integers(0, len(letters)))]
    partial = scorer.score(sample, ",".join(named)).components["ndcg"]
    others = itertools.permutations([letter for letter in letters if letter not in named])
    full = [scorer.score(sample, ",".join([*named, *rest])).components["ndcg"] for rest in others]
    assert partial <= min(full)
    assert partial == min(full) or not named
    padded = " , ".join([*named, *named[:1], "Z", "Axe", ""])
    assert scorer.score(sample, padded).components["ndcg"] == partial


@QUICK
@given(data=st.data(), num_repeats=st.integers(2, 4))
def test_repeating_an_extraction_never_pays_strictly(data, num_repeats):
    scorer = task_named("AVE").scorer(STRICT)
    sample, items = BASE | {"output": json.dumps(data.draw(DISTINCT_ITEMS))}, data.draw(DISTINCT_ITEMS)
    once, often = (scorer.score(sample, json.dumps(answer)).components for answer in (items, items * num_repeats))
    assert often["hits"] == once["hits"] <= min(once["num_predicted"], once["num_gold"])
    assert once["hits"] <= once["value_hits"] <= min(once["num_predicted"], once["num_gold"])
    assert often["num_predicted"] == num_repeats * once["num_predicted"]


@QUICK
@given(data=st.data())
def test_attributes_parts_add_up_to_the_whole(data):
    scorer = task_named("AVE").scorer(STRICT)
    sample = data.draw(EXTRACTION)
    row = scorer.score(sample, data.draw(ANSWERS["AVE"] | GARBAGE))
    assert set(row.parts) == {label["attribute"] for label in json.loads(sample["output"])}
    sums = {name: sum(part.components[name] for part in row.parts.values()) for name in row.components}
    exact = ("hits", "value_hits", "num_gold")
    assert [sums[name] for name in exact] == [row.components[name] for name in exact]
    assert sums["num_predicted"] <= row.components["num_predicted"]
