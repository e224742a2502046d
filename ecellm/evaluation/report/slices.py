"""Figures of parts of the rows, slice by slice, as plain values for the template of a task's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecellm.evaluation.headline import HeadlineRow, place_label
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.report.first_page import Cell, cell_of, point_of
from ecellm.evaluation.report.plots import PlotText, Series, lines_plot, profile_plot
from ecellm.evaluation.slices import reading_order
from ecellm.tasks import RELEASED

_MOST_PLOTTED = 20


@dataclass(frozen=True)
class SliceLine:
    """Figures of the rows with one value; `cells` are those of the runs."""

    value: str
    num_samples: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class SliceTable:
    """Figures of the runs by the values of a slice in one place; `plot` is empty where there is none."""

    title: str
    lines: tuple[SliceLine, ...]
    plot: str


@dataclass(frozen=True)
class SliceView:
    """One way to narrow the rows."""

    title: str
    axis: str
    note: str
    metric: str
    tables: tuple[SliceTable, ...]


@dataclass(frozen=True)
class _Slice:
    """How a slice is shown; `metric` where it is another one than the headline metric."""

    title: str
    axis: str
    note: str = ""
    is_ordered: bool = False
    metric: str | None = None


_SLICES: Mapping[str, _Slice] = {
    "attribute": _Slice(
        "By attribute",
        "attribute",
        "Labels and predictions of each attribute by themselves; predictions of attributes that no label asks for "
        "count in the whole alone.",
    ),
    "reference": _Slice(
        "By right answer",
        "right answer",
        "The share of rows answered rightly. Where options are listed in random order, differences between letters "
        "mean that the model prefers places in the list to products.",
        is_ordered=True,
        metric="acc",
    ),
    "num_candidates": _Slice("By number of candidates", "products to rank", is_ordered=True),
    "prompt_tokens": _Slice(
        "By length of the prompt",
        "tokens of the prompt",
        "About a quarter of the rows each. Every run counts with its own tokenizer: other models, other limits.",
        is_ordered=True,
    ),
    "category": _Slice("By product category", "category"),
    "was_shortened": _Slice("By whether the prompt was shortened", "shortened to fit", is_ordered=True),
    "finish_reason": _Slice("By how the answer ended", "finish reason", is_ordered=True),
}


@dataclass(frozen=True)
class SliceSource:
    """What the slices of a task are made from.

    Attributes:
        anchor: id of the task's section.
        lines: its lines of the headline table, those of the main settings first.
        num_main: how many of these have plots.
        rows: its rows of the metrics table.
        labels: short names of the runs by run_id, in the order of the columns.
    """

    anchor: str
    lines: Sequence[HeadlineRow]
    num_main: int
    rows: Sequence[MetricRow]
    labels: Mapping[str, str]

    @property
    def flavour(self) -> str:
        """What is shown first."""
        return self.lines[0].flavour


def slice_views(source: SliceSource) -> list[SliceView]:
    """Return every slice that the metrics table has, known ones first, each with a table for each place."""
    there = {row["slice_name"] for row in source.rows if row["slice_name"] is not None}
    views: list[SliceView] = []
    for name in [*(name for name in _SLICES if name in there), *sorted(there - _SLICES.keys())]:
        look = _SLICES.get(name, _Slice(f"By {name.replace('_', ' ')}", name))
        own = [row for row in source.rows if row["slice_name"] == name]
        metric = _metric(look, source.lines[0].metric, own)
        own = [row for row in own if row["metric"] == metric]
        tables = []
        for number, line in enumerate(source.lines):
            here = [row for row in own if (row["setting"], row["split"]) == (line.setting, line.split)]
            plot_name = f"{source.anchor}-{len(views)}-{number}" if number < source.num_main else ""
            if here:
                tables.append(_slice_table(source, look, place_label(line.setting, line.split), here, plot_name))
        views.append(SliceView(look.title, look.axis, look.note, metric, tuple(tables)))
    return views


def _metric(look: _Slice, headline: str, rows: Sequence[MetricRow]) -> str:
    """Return the metric that is shown: the slice's own, else the headline metric, else the first that has figures."""
    known = [row["metric"] for row in rows if row["value"] is not None]
    return next((name for name in (look.metric, headline, *known) if name in known), headline)


def _slice_table(
    source: SliceSource, look: _Slice, title: str, rows: Sequence[MetricRow], plot_name: str
) -> SliceTable:
    """Return figures by value: in their order where values have one, else the most frequent first."""
    by_value: dict[str, dict[tuple[str, str], MetricRow]] = {}
    for row in rows:
        by_value.setdefault(row["slice_value"], {})[row["run_id"], row["flavour"]] = row
    lines = [_slice_line(source, value, of) for value, of in by_value.items()]
    # Bins of runs with other tokenizers lie between one another.
    lines.sort(key=lambda line: reading_order(line.value) if look.is_ordered else (-line.num_samples, line.value))
    shown = [line.value for line in lines[: len(lines) if look.is_ordered else _MOST_PLOTTED]]
    series = [
        Series(label, number, [point_of(by_value[value].get((run_id, source.flavour))) for value in shown])
        for number, (run_id, label) in enumerate(source.labels.items())
    ]
    series = [each for each in series if any(each.points)]
    plot = ""
    if plot_name and series and len(shown) > 1:
        text = PlotText(f"{look.title}, {title}", rows[0]["metric"], look.axis)
        plot = (profile_plot if look.is_ordered else lines_plot)(text, shown, series, name=plot_name)
    return SliceTable(title, tuple(lines), plot)


def _slice_line(source: SliceSource, value: str, of: Mapping[tuple[str, str], MetricRow]) -> SliceLine:
    has_released = source.flavour != RELEASED
    cells = tuple(
        cell_of(of.get((run_id, source.flavour)), of.get((run_id, RELEASED)) if has_released else None)
        for run_id in source.labels
    )
    return SliceLine(value, max(row["num_samples"] for row in of.values()), cells)
