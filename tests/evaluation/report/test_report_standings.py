"""What the first page says: counts, best run, gap, verdicts, and the paper's figures."""

import pytest

from ecellm.evaluation.headline import Verdict, headline_rows, verdict_of
from ecellm.evaluation.published import reference_models
from ecellm.evaluation.report.comparisons import comparison_pairs
from ecellm.evaluation.report.first_page import cell_of, headline_groups, statement_of
from ecellm.evaluation.report.page import task_anchors
from ecellm.evaluation.report.paper import paper_table
from ecellm.evaluation.report.runs import short_names
from ecellm.evaluation.report.standings import best_standing, standings

IND, OOD, UNSEEN = "IND_Diverse_Instruction", "OOD_Diverse_Instruction", "IND_Unseen_Instruction"
PM, SA, PSI = "Product_Matching", "Sentiment_Analysis", "Product_Substitute_Identification"


def row(run_id, value, task, setting=IND, low=None, flavour="strict", **fields):
    is_floor = run_id.startswith("floor-")
    return {
        "run_id": run_id,
        "model": run_id.removeprefix("floor-"),
        "role": "floor" if is_floor else "ours",
        "task": task,
        "setting": setting,
        "split": "test",
        "slice_name": None,
        "slice_value": None,
        "flavour": flavour,
        "metric": "f1",
        "is_headline": True,
        "value": value,
        "ci_low": low,
        "ci_high": None if low is None else 1.0,
        "reason": None,
        "num_samples": 100,
        "num_invalid": 0,
    } | fields


ROWS = [
    row("base", 0.2, PM, low=0.1),
    row("tuned", 0.9, PM, low=0.8),
    row("floor-always-yes", 0.5, PM),
    row("base", 0.5, SA, low=0.45),
    row("tuned", 0.6, SA, low=0.55),
    row("floor-majority", 0.1, SA),
    row("base", 0.5, SA, OOD, low=0.4),
    row("tuned", 0.4, SA, OOD, low=0.3),
    row("floor-majority", 0.35, SA, OOD),
    row("base", 0.38, PSI, low=0.3),
    row("tuned", 0.31, PSI, low=0.25),
    row("floor-always-yes", 0.37, PSI),
    row("tuned", 0.99, SA, UNSEEN, low=0.9),
    row("tuned", 0.99, PM, flavour="released"),
    row("floor-always-yes", 0.5, PM, flavour="released"),
    row("tuned", 0.1, PM, slice_name="category", slice_value="Toys"),
]


@pytest.fixture
def lines():
    return headline_rows(ROWS, ["base", "tuned"])


@pytest.mark.parametrize(
    ("value", "low", "floor", "verdict"),
    [
        (0.9, 0.8, 0.5, Verdict.ABOVE),
        (0.9, None, 0.5, Verdict.ABOVE),
        (0.6, 0.4, 0.5, Verdict.UNCLEAR),
        (0.5, 0.4, 0.5, Verdict.BELOW),
        (0.31, 0.25, 0.37, Verdict.BELOW),
        (None, None, 0.5, Verdict.UNKNOWN),
        (0.9, 0.8, None, Verdict.UNKNOWN),
    ],
)
def test_the_verdict_on_a_figure(value, low, floor, verdict):
    floors = None if floor is None else row("floor-x", floor, PM)
    assert verdict_of(row("tuned", value, PM, low=low), floors) is verdict


def test_slices_and_the_other_flavour_are_no_headlines(lines):
    (pm,) = [line for line in lines if line.task == PM]
    assert pm.flavour == "strict"
    assert (pm.runs[1]["value"], pm.released_runs[1]["value"], pm.released_floor["value"]) == (0.9, 0.99, 0.5)
    assert pm.released_runs[0] is None


def test_a_table_without_strict_figures_is_shown_by_the_released_ones():
    (line,) = headline_rows([each for each in ROWS if each["flavour"] == "released"], ["base", "tuned"])
    assert (line.flavour, line.runs[1]["value"], line.released_runs) == ("released", 0.99, (None, None))


def test_counts_and_gap_are_of_the_main_settings(lines):
    base, tuned = standings(lines, 2)
    assert [(count.domain, count.num_above, count.num_compared) for count in tuned.counts] == [
        ("IND", 2, 3),
        ("OOD", 0, 1),
    ]
    assert tuned.gap == pytest.approx(0.2)
    assert base.gap == 0
    assert tuned.mean == pytest.approx((0.9 + 0.6 + 0.4 + 0.31) / 4)
    assert best_standing([base, tuned]) is tuned


def test_the_statement_names_what_is_not_above(lines):
    statement = statement_of(lines, ["base", "tuned"])
    assert (statement.best, statement.num_above, statement.num_compared) == ("tuned", 2, 4)
    assert statement.counts == ("2 of 3 in domain", "0 of 1 out of domain")
    assert statement.gap == "0.200 lower"
    assert statement.below == ("Product Substitute Identification, IND diverse: f1 0.310, always-yes 0.370",)
    assert statement.unclear == ("Sentiment Analysis, OOD diverse: f1 0.400, majority 0.350",)


def statement_on(rows, *names):
    return statement_of(headline_rows(rows, names), names)


def test_the_highest_mean_is_named_with_the_next(lines):
    statement = statement_of(lines, ["base", "tuned"])
    assert (statement.title, statement.note) == ("Highest mean", "0.552 over 4 lines; next is base with 0.395")
    assert [line.is_best for line in statement.lines] == [False, True]


def test_lines_without_any_figure_are_not_left_out_for_their_rows():
    rows = [row("one", 0.5, PM), row("two", 0.4, PM), row("one", None, SA), row("two", None, SA)]
    assert statement_on(rows, "one", "two").note == "0.500 over 1 line; next is two with 0.400"


def test_without_a_line_in_common_no_run_is_the_best():
    statement = statement_on([row("good", 1.0, PM), row("bad", 0.0, SA)], "good", "bad")
    assert (statement.title, statement.best) == ("Run", "bad")
    assert statement.note.startswith("not comparable: the runs have no task with the same number of rows in common")
    assert not any(line.is_best for line in statement.lines)


def test_a_run_that_answered_a_few_rows_does_not_win_by_them():
    rows = [row("whole", 0.5, PM), row("part", 1.0, PM, num_samples=3), row("whole", 0.5, SA), row("part", 0.4, SA)]
    statement = statement_on(rows, "whole", "part")
    assert statement.best == "whole"
    assert statement.note == "0.500 over 1 line (1 left out: not the same rows); next is part with 0.400"


def test_a_run_without_answers_neither_wins_nor_keeps_others_from_it():
    rows = [row("one", 0.5, PM), row("two", 0.4, PM)]
    statement = statement_on(rows, "one", "two", "failed")
    assert (statement.best, statement.note) == ("one", "0.500 over 1 line; next is two with 0.400")
    assert statement_on(rows[:1], "one", "failed").note == "0.500 over 1 line; no other run has figures"


def test_a_tie_says_so():
    statement = statement_on([row("one", 0.5, PM), row("two", 0.5, PM)], "one", "two")
    assert (statement.best, statement.note) == ("two", "0.500 over 1 line; tied with one")


def test_two_names_of_one_task_have_two_pages():
    names = ("PM", PM, "mine", "product_matching")
    anchors = task_anchors(headline_rows([row("tuned", 0.5, name) for name in names], ["tuned"]))
    assert set(anchors) == set(names)
    assert len(set(anchors.values())) == len(names)


def test_main_settings_come_first(lines):
    anchors = dict.fromkeys([PM, SA, PSI], "task")
    groups = headline_groups(lines, anchors)
    assert [(group.title, group.is_main) for group in groups] == [
        ("In domain: IND diverse", True),
        ("Out of domain: OOD diverse", True),
        ("In domain: IND unseen", False),
    ]


def table(lines, reason):
    return paper_table(lines, 1, dict.fromkeys([PM, SA, PSI], "task"), lambda _row: (reason, ("a remark",)))


def test_figures_of_the_paper_have_differences_where_they_may_be_compared(lines):
    found = table(lines, None)
    (line,) = found.lines
    assert (line.task, line.ours.value, line.is_comparable, line.notes) == ("Product Matching", "0.990", True, (1,))
    assert found.notes == ("a remark",)
    models = {model.label: model.value for model in reference_models(PM, IND)}
    cells = dict(zip(found.columns, line.cells, strict=True))
    assert cells["eCeLLM-L"].value == f"{models['eCeLLM-L']:.3f}"
    assert float(cells["EcomGPT"].difference) == pytest.approx(0.99 - models["EcomGPT"], abs=6e-4)
    assert cells["EcomGPT"].verdict == "above"
    assert cells["best task-specific"].model


def test_a_figure_below_the_trivial_answer_is_not_praised_beside_the_paper():
    rows = [
        row("tuned", 0.38, PSI, flavour="released", low=0.3),
        row("floor-always-yes", 0.42, PSI, flavour="released"),
    ]
    found = paper_table(headline_rows(rows, ["tuned"]), 0, {PSI: "task"}, lambda _row: (None, ()))
    (line,) = found.lines
    assert (line.ours.verdict, line.ours.mark, line.floor) == ("below", "▼", "0.420")
    signs = {cell.difference[0]: cell.verdict for cell in line.cells if cell and cell.difference}
    assert signs == {"+": "", "\N{MINUS SIGN}": "below"}


def test_a_run_below_the_trivial_answer_is_not_praised_beside_another(lines):
    def compared(task, difference, setting=IND, flavour="strict"):
        ends = {"ci_low": difference - 0.01, "ci_high": difference + 0.01, "p_value": 0.001, "p_adjusted": 0.002}
        return (
            row("tuned", 0.3, task, setting, flavour=flavour)
            | ends
            | {
                "baseline_run_id": "base",
                "baseline_value": 0.3 - difference,
                "difference": difference,
            }
        )

    rows = [compared(PM, 0.7), compared(PSI, 0.2), compared(SA, -0.1, OOD), compared(PM, 0.1, flavour="released")]
    anchors = dict.fromkeys([PM, SA, PSI], "task")
    (pair,) = comparison_pairs(rows, lines, {"base": "base", "tuned": "tuned"}, anchors, "strict")
    found = {(line.task, line.flavour): line for line in pair.lines}
    psi = found["Product Substitute Identification", "strict"]
    assert (psi.verdict, psi.value.mark, psi.floor, psi.floor_name) == ("", "▼", "0.370", "always-yes")
    assert psi.baseline_value.mark == "◇"
    assert found["Product Matching", "strict"].verdict == found["Product Matching", "released"].verdict == "above"
    assert found["Product Matching", "released"].floor == "0.500"
    assert found["Sentiment Analysis", "strict"].verdict == "below"


def test_a_figure_over_no_readable_answer_is_none():
    empty = row("tuned", 0.0, PM, flavour="released", num_invalid=100, low=0.0)
    rows = [empty, row("base", 0.4, PM, flavour="released"), row("floor-always-yes", 0.5, PM, flavour="released")]
    lines = headline_rows(rows, ["base", "tuned"])
    (line,) = table(lines, None).lines
    assert (line.ours.value, line.ours.interval) == ("n/a", "no readable answer")
    assert {cell.difference for cell in line.cells if cell} == {""}
    compared = empty | {"baseline_run_id": "base", "baseline_value": 0.4, "difference": -0.4, "ci_low": -0.5}
    compared |= {"ci_high": -0.3, "p_value": 0.001, "p_adjusted": 0.001}
    ids = {"base": "base", "tuned": "tuned"}
    (pair,) = comparison_pairs([compared], lines, ids, {PM: "task"}, "released")
    (line,) = pair.lines
    assert (line.value.value, line.value.interval, line.baseline_value.value) == ("n/a", "no readable answer", "0.400")
    assert (line.difference, line.verdict, line.p_adjusted) == ("-", "", "-")
    extraction = row("tuned", 0.0, "Attribute_Value_Extraction", flavour="released", num_invalid=100)
    assert cell_of(extraction, None).value == "0.000", "the scorer counts these answers"


@pytest.mark.parametrize(("num_resamples", "is_said"), [(None, False), (10, True), (19, True), (20, False)])
def test_too_few_resamples_for_an_adjusted_p_are_told_of(lines, num_resamples, is_said):
    ends = {"baseline_run_id": "base", "difference": 0.7, "ci_low": 0.6, "ci_high": 0.8}
    ids = {"base": "base", "tuned": "tuned"}
    compared = [row("tuned", 0.9, PM) | ends]
    (pair,) = comparison_pairs(compared, lines, ids, {PM: "task"}, "strict", num_resamples=num_resamples)
    assert bool(pair.note) == is_said


def test_a_figure_of_the_paper_below_the_trivial_answer_is_marked():
    rows = [
        row("tuned", 0.38, PSI, flavour="released", low=0.3),
        row("floor-always-yes", 0.37, PSI, flavour="released"),
    ]
    found = paper_table(headline_rows(rows, ["tuned"]), 0, {PSI: "task"}, lambda _row: (None, ()))
    below = {name: cell.is_below_floor for name, cell in zip(found.columns, found.lines[0].cells, strict=True)}
    values = {model.label: model.value for model in reference_models(PSI, IND)}
    assert below["eCeLLM-S"] == (values["eCeLLM-S"] <= 0.37)
    assert True in below.values()


def test_without_the_same_rows_there_is_no_difference_but_a_reason(lines):
    found = table(lines, "the test rows differ")
    (line,) = found.lines
    assert (line.is_comparable, line.notes, found.notes) == (False, (1,), ("the test rows differ",))
    assert found.num_comparable == 0
    assert {cell.difference for cell in line.cells if cell} == {""}
    assert not any(cell.is_below_floor for cell in line.cells if cell)


def test_short_names_tell_paths_apart():
    assert short_names(["/runs/base", "/runs/tuned"]) == ["base", "tuned"]
    assert short_names(["s3://b/one/predict", "s3://b/two/predict/"]) == ["one/predict", "two/predict"]
