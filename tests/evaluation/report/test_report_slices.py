"""Slices: which metric they show, in which order, with which plots."""

from ecellm.evaluation.headline import headline_rows
from ecellm.evaluation.report.plots import PlotText, Point, Series, lines_plot
from ecellm.evaluation.report.slices import SliceSource, slice_views
from tests.evaluation.report.test_report_standings import IND, OOD, SA, row


def sliced(name, value, size, figure, metric="f1", setting=IND, **fields):
    part = {"slice_name": name, "slice_value": value, "num_samples": size, "is_headline": False, "metric": metric}
    return row("tuned", figure, SA, setting, **part, **fields)


def views(*parts):
    rows = [row("tuned", 0.6, SA), row("tuned", 0.5, SA, OOD), *parts]
    lines = headline_rows(rows, ["tuned"])
    return slice_views(SliceSource("task-sa", lines, 1, rows, {"tuned": "tuned"}))


def test_categories_are_sorted_by_size_and_lengths_stay_in_order():
    sizes = {"Toys": 3, "Books": 9, "Art": 3}
    lengths = {"1-9": 4, "10-99": 8, "100-999": 3}
    categories = [sliced("category", name, size, 0.5, low=0.4) for name, size in sizes.items()]
    found = views(*categories, *(sliced("prompt_tokens", name, size, 0.5) for name, size in lengths.items()))
    assert [view.title for view in found] == ["By length of the prompt", "By product category"]
    order = [[line.value for line in view.tables[0].lines] for view in found]
    assert order == [["1-9", "10-99", "100-999"], ["Books", "Art", "Toys"]]
    assert found[1].tables[0].lines[0].cells[0].interval == "[0.400, 1.000]"


def test_only_main_settings_have_plots():
    (view,) = views(*(sliced("category", name, 5, 0.5, setting=place) for name in "ab" for place in (IND, OOD)))
    assert [bool(table.plot) for table in view.tables] == [True, False]
    assert "By product category, IND diverse" in view.tables[0].plot


def test_right_answers_are_shown_by_accuracy():
    """Within one right answer, a macro F1 or the F1 of yes says nothing."""
    parts = [
        sliced("reference", name, 5, figure, metric) for name in "AB" for metric, figure in (("f1", 0.2), ("acc", 0.9))
    ]
    (view,) = views(*parts)
    assert view.metric == "acc"
    assert {line.cells[0].value for line in view.tables[0].lines} == {"0.900"}


def test_without_the_headline_metric_another_one_is_shown():
    parts = [
        sliced("category", name, 5, figure, metric)
        for name in "ab"
        for metric, figure in (("f1", None), ("rouge_l", 0.3))
    ]
    assert views(*parts)[0].metric == "rouge_l"


def test_unknown_slices_are_shown_too():
    (view,) = views(sliced("price_range", "low", 5, 0.5), sliced("price_range", "high", 5, 0.4))
    assert (view.title, len(view.tables[0].lines)) == ("By price range", 2)


def test_lengths_by_several_tokenizers_lie_between_one_another():
    """Each run has bins of its own, which come run by run."""
    parts = [sliced("prompt_tokens", name, 5, 0.5) for name in ("198-199", "200-200", "85-86", "87-300")]
    (view,) = views(*parts)
    assert [line.value for line in view.tables[0].lines] == ["85-86", "87-300", "198-199", "200-200"]


def test_a_runs_name_stands_in_the_legend_whatever_it_begins_with():
    series = [
        Series(name, number, [Point(0.5, 0.4, 0.6)])
        for number, name in enumerate(["_base", "a-very-long-sweep-lr-0001"])
    ]
    plot = lines_plot(PlotText("title", "f1", "task"), ["PM"], series, name="p")
    assert ">_base<" in plot
    assert "lr-0001<" in plot
