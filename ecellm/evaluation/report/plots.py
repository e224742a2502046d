"""The report's plots: figures with their intervals, a colour and a marker for each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ecellm.svg_plots import COLOURS, draw, run_colour
from ecellm.visible_text import short_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 360
_LINE_HEIGHT, _RUN_HEIGHT = 16, 9
_LEGEND_LINE, _MARGIN = 18, 78
_MARKERS = "osD^vP"
_MOST_LABEL = 24
_FEW_PLACES = 8  # of more, intervals are drawn fainter, so that points are seen
_FLOOR = "best floor"


@dataclass(frozen=True)
class Point:
    """A figure with the ends of its interval, which are the figure itself where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """The figures of one run, in the order of the plot's lines; None where it has none."""

    label: str
    number: int
    points: Sequence[Point | None]


@dataclass(frozen=True)
class PlotText:
    """What is written on a plot."""

    title: str
    figures: str
    places: str


def lines_plot(
    text: PlotText, labels: Sequence[str], series: Sequence[Series], *, name: str, floors: Sequence[float | None] = ()
) -> str:
    """Return a plot with a line for each label, from top to bottom, and the runs' figures on it.

    Args:
        text: title and names of the axes: of the figures (across) and of the labels (down).
        labels: of the lines.
        series: the runs.
        name: tells the plot's ids from those of others on the page.
        floors: the best floor of each line, drawn as a bar across it.
    """
    height = _MARGIN + len(labels) * (_LINE_HEIGHT + _RUN_HEIGHT * len(series)) + _legend_height(len(series) + 1)
    paint = partial(_paint_lines, text=text, labels=labels, series=series, floors=floors)
    spoken = _spoken(text, labels, series)
    return draw(paint, title=text.title, label=spoken, name=name, width=_WIDTH, height=height)


def profile_plot(text: PlotText, labels: Sequence[str], series: Sequence[Series], *, name: str) -> str:
    """Return a plot of figures over places that have an order of their own, from left to right.

    Args:
        text: title and names of the axes: of the figures (up) and of the places (across).
        labels: of the places.
        series: the runs.
        name: tells the plot's ids from those of others on the page.
    """
    paint = partial(_paint_profile, text=text, labels=labels, series=series)
    height = 240 + _legend_height(len(series))
    spoken = _spoken(text, labels, series)
    return draw(paint, title=text.title, label=spoken, name=name, width=_WIDTH, height=height)


def curve_plot(text: PlotText, xs: Sequence[float], series: Sequence[Series], *, name: str) -> str:
    """Return a plot of figures over a quantity, which is on a logarithmic scale where it spans a factor of ten.

    Args:
        text: title and names of the axes: of the figures (up) and of the quantity (across).
        xs: the quantities, ascending and above 0.
        series: figures at each of them.
        name: tells the plot's ids from those of others on the page.
    """
    paint = partial(_paint_curve, text=text, xs=xs, series=series)
    spoken = _spoken(text, [f"{x:g}" for x in xs], series)
    return draw(
        paint, title=text.title, label=spoken, name=name, width=_WIDTH, height=240 + _legend_height(len(series))
    )


def _paint_curve(figure: "Figure", text: PlotText, xs: Sequence[float], series: Sequence[Series]) -> None:
    axes = _axes(figure)
    axes.set_ylabel(text.figures)
    axes.set_xlabel(text.places)
    axes.grid(axis="y")
    if xs[-1] >= 10 * xs[0]:
        axes.set_xscale("log")
    entries: list[tuple[Artist, str]] = []
    for each in series:
        known = [(x, point) for x, point in zip(xs, each.points, strict=True) if point is not None]
        places, values = [x for x, _ in known], [point.value for _, point in known]
        axes.plot(places, values, color=_colour(each), linewidth=1.2)
        axes.fill_between(
            places, [p.low for _, p in known], [p.high for _, p in known], color=_colour(each), alpha=0.15, linewidth=0
        )
        entries.append((_paint_points(axes, each, list(zip(places, values, strict=True))), each.label))
    axes.set_xticks(xs, [f"{x:,.0f}" if x == round(x) else f"{x:g}" for x in xs])
    axes.set_xticks([], minor=True)
    _limit(axes.set_ylim, [], series)
    _legend(figure, entries)


def _legend_height(num_entries: int) -> int:
    return _LEGEND_LINE * -(-num_entries // 2)


def _spoken(text: PlotText, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Say what the plot shows; the figures themselves are in the table beside it."""
    runs = ", ".join(each.label for each in series)
    return f"{text.title}: {text.figures} of {runs} over {len(labels)} lines of {text.places}; figures in the table"


def _paint_lines(
    figure: "Figure",
    text: PlotText,
    labels: Sequence[str],
    series: Sequence[Series],
    floors: Sequence[float | None],
) -> None:
    axes = _axes(figure)
    axes.set_xlabel(text.figures)
    axes.set_ylabel(text.places)
    axes.grid(axis="x")
    step = 0.8 / max(len(series), 1)
    entries: list[tuple[Artist, str]] = []
    for place, each in enumerate(series):
        shift = (place - (len(series) - 1) / 2) * step
        known = [(line + shift, point) for line, point in enumerate(each.points) if point is not None]
        entries.append((_paint_points(axes, each, [(point.value, line) for line, point in known]), each.label))
        ends = [point for _, point in known]
        lines = [line for line, _ in known]
        axes.hlines(lines, [p.low for p in ends], [p.high for p in ends], colors=_colour(each), linewidth=2)
    there = [(line, value) for line, value in enumerate(floors) if value is not None]
    if there:
        where = [value for _, value in there], [line - 0.46 for line, _ in there], [line + 0.46 for line, _ in there]
        entries.append((axes.vlines(*where, colors=COLOURS["ink"], linewidth=1.8), _FLOOR))
    axes.set_yticks(range(len(labels)), [short_text(label, _MOST_LABEL) for label in labels])
    axes.set_ylim(len(labels) - 0.45, -0.55)
    _limit(axes.set_xlim, [value for _, value in there], series)
    _legend(figure, entries)


def _paint_profile(figure: "Figure", text: PlotText, labels: Sequence[str], series: Sequence[Series]) -> None:
    axes = _axes(figure)
    axes.set_ylabel(text.figures)
    axes.set_xlabel(text.places)
    axes.grid(axis="y")
    step = (0.36 if len(labels) <= _FEW_PLACES else 0.5) / max(len(series), 1)
    entries: list[tuple[Artist, str]] = []
    for number, each in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * step
        known = [(place + shift, point) for place, point in enumerate(each.points) if point is not None]
        places, values = [place for place, _ in known], [point.value for _, point in known]
        axes.plot(places, values, color=_colour(each), linewidth=1, alpha=0.6)
        entries.append((_paint_points(axes, each, list(zip(places, values, strict=True))), each.label))
        ends = [point.low for _, point in known], [point.high for _, point in known]
        alpha = 1.0 if len(labels) <= _FEW_PLACES else 0.45
        axes.vlines(places, *ends, colors=_colour(each), linewidth=1.6, alpha=alpha)
    written = [short_text(label, 12) for label in labels]
    is_crowded = sum(map(len, written)) > 42
    axes.set_xticks(
        range(len(labels)), written, rotation=40 if is_crowded else 0, ha="right" if is_crowded else "center"
    )
    axes.set_xlim(-0.5, len(labels) - 0.5)
    _limit(axes.set_ylim, [], series)
    _legend(figure, entries)


def _axes(figure: "Figure") -> "Axes":
    axes = figure.subplots()
    axes.tick_params(length=0)
    return axes


def _colour(series: Series) -> str:
    return COLOURS[run_colour(series.number)]


def _paint_points(axes: "Axes", series: Series, places: Sequence[tuple[float, float]]) -> "Artist":
    # Colours come again from the seventh run on: it is given another marker than the first.
    marker = _MARKERS[(series.number + series.number // len(_MARKERS)) % len(_MARKERS)]
    across, along = ([pair[side] for pair in places] for side in (0, 1))
    return axes.plot(across, along, marker, color=_colour(series), markersize=5.5, zorder=3)[0]


def _limit(set_limits: object, others: Sequence[float], series: Sequence[Series]) -> None:
    """Let an axis begin at 0, or below the least figure, and end at 1, or above the greatest one."""
    points = [point for each in series for point in each.points if point is not None]
    values = [*others, *(point.low for point in points), *(point.high for point in points)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    assert callable(set_limits)
    set_limits(min(-0.02, low * 1.1), max(1.02, high * 1.05))


def _legend(figure: "Figure", entries: Sequence[tuple["Artist", str]]) -> None:
    """Write the legend from entries of its own: an artist's label that begins with `_` would be left out.

    Names are cut in the middle, since runs of a sweep differ at the end.
    """
    artists = [artist for artist, _ in entries]
    labels = [short_text(label, _MOST_LABEL, keep_end=_MOST_LABEL // 2) for _, label in entries]
    figure.legend(artists, labels, loc="outside lower left", ncols=2, handlelength=1.4)


def difference_plot(
    text: PlotText, labels: Sequence[str], points: Sequence[Point], colours: Sequence[str], *, name: str
) -> str:
    """Return a plot of differences with their intervals, a line for each label, and a line at 0.

    Args:
        text: title and names of the axes.
        labels: of the lines.
        points: the differences.
        colours: names of colours, for each line.
        name: tells the plot's ids from those of others on the page.
    """
    spoken = f"{text.title}: {text.figures} of {len(labels)} lines of {text.places}; figures in the table"
    paint = partial(_paint_differences, text=text, labels=labels, points=points, colours=colours)
    height = _MARGIN + 26 * len(labels)
    return draw(paint, title=text.title, label=spoken, name=name, width=_WIDTH, height=height)


def _paint_differences(
    figure: "Figure", text: PlotText, labels: Sequence[str], points: Sequence[Point], colours: Sequence[str]
) -> None:
    axes = _axes(figure)
    axes.set_xlabel(text.figures)
    axes.set_ylabel(text.places)
    axes.grid(axis="x")
    axes.axvline(0, color=COLOURS["ink"], linewidth=1.4)
    for line, (point, colour) in enumerate(zip(points, colours, strict=True)):
        axes.hlines(line, point.low, point.high, colors=COLOURS[colour], linewidth=2)
        axes.plot(point.value, line, "o", color=COLOURS[colour], markersize=5.5)
    axes.set_yticks(range(len(labels)), [short_text(label, _MOST_LABEL) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    reach = max([0.05, *(abs(end) for point in points for end in (point.low, point.high))]) * 1.08
    axes.set_xlim(-reach, reach)
