"""Loss curves: from rows of the training log to SVG, for the report's page and as a file beside a model.

The training loss is a grey line, the validation loss a blue one with points and a ring around the best. The learning
rate is a dashed line from 0 at the bottom to its peak at the top; the legend says how high that is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

WIDTH, HEIGHT = 560.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 34.0
_MAX_POINTS = 400
_NUM_TICKS = 4
# The page has classes of these names; a file brings its own, on white whatever the reader's colours are.
_FILE_STYLE = """text { fill: #5b6470; font: 11px system-ui, sans-serif; stroke: none; }
.axis { stroke: #d9dde3; stroke-width: 1; }
.curve { fill: none; stroke-width: 1.8; }
.train { stroke: #6b7480; fill: #6b7480; }
.val { stroke: #1f6fd1; fill: #1f6fd1; }
.rate { stroke: #c2561a; fill: #c2561a; }
.rate .curve { stroke-width: 1.2; stroke-dasharray: 4 3; }
.best { fill: none; stroke-width: 1.8; }
.name { font-weight: 600; stroke: none; }"""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        kind: train, val or rate.
        points: the attribute of an SVG polyline.
        markers: places of the points that are shown.
        last: the last value.
    """

    kind: str
    points: str
    markers: tuple[tuple[float, float], ...]
    last: float


@dataclass(frozen=True)
class Best:
    """The best validation: its place, and which it is."""

    place: tuple[float, float]
    step: int
    loss: float


@dataclass(frozen=True)
class LossPlot:
    """The curves of one training run, scaled to a box of WIDTH x HEIGHT.

    Attributes:
        label: the run's short name.
        curves: training and validation loss.
        rate: the learning rate; None if the log has none.
        peak_rate: its highest value.
        best: the best validation; None without one.
        x_ticks: steps.
        y_ticks: losses.
    """

    label: str
    curves: tuple[Curve, ...]
    rate: Curve | None
    peak_rate: float
    best: Best | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class _Scale:
    """From steps and values to places in the box."""

    first: float
    step_span: float
    low: float
    span: float

    def x(self, step: float) -> float:
        """Return how far to the right a step is."""
        return round(float(LEFT + (step - self.first) / self.step_span * (WIDTH - LEFT - RIGHT)), 1)

    def y(self, value: float) -> float:
        """Return how far down a value is."""
        return round(float(HEIGHT - BOTTOM - (value - self.low) / self.span * (HEIGHT - TOP - BOTTOM)), 1)

    def curve(self, kind: str, points: np.ndarray, *, has_markers: bool = False) -> Curve:
        """Return the line through points, [num_points, 2] of step and value."""
        places = tuple((self.x(step), self.y(value)) for step, value in points)
        text = " ".join(f"{left},{top}" for left, top in places)
        return Curve(kind, text, places if has_markers else (), float(points[-1, 1]))


def loss_plot(label: str, log: Sequence[Mapping[str, Any]]) -> LossPlot | None:
    """Scale the losses and learning rates of one run; None if the log has no finite loss.

    Args:
        label: the run's short name.
        log: rows of the training log: `step`, `kind`, `loss`, and `learning_rate` where it is known.
    """
    series = {kind: _series(log, kind, "loss") for kind in ("train", "val")}
    series = {kind: points for kind, points in series.items() if len(points)}
    if not series:
        return None
    everything = np.concatenate(list(series.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)
    step_span, span = np.maximum(high - low, 1e-9)
    scale = _Scale(low[0], step_span, low[1], span)
    rates = _series(log, "train", "learning_rate")
    peak = float(rates[:, 1].max()) if len(rates) else 0.0
    return LossPlot(
        label,
        tuple(scale.curve(kind, points, has_markers=kind == "val") for kind, points in series.items()),
        _Scale(low[0], step_span, 0.0, peak).curve("rate", rates) if peak > 0 else None,
        peak,
        _best(log, scale),
        tuple(Tick(scale.x(step), f"{step:,.0f}") for step in sorted({round(s) for s in _spread(low[0], high[0])})),
        tuple(Tick(scale.y(loss), f"{loss:.2f}") for loss in _spread(low[1], high[1])),
    )


def _series(log: Sequence[Mapping[str, Any]], kind: str, column: str) -> np.ndarray:
    """Return [num_points, 2] of step and value, thinned to what a small plot can show; the last point stays."""
    rows = ((row["step"], row.get(column)) for row in log if row["kind"] == kind)
    known = sorted((step, value) for step, value in rows if value is not None and np.isfinite(value))
    points = np.array(known, float).reshape(-1, 2)
    if len(points) <= _MAX_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MAX_POINTS).round().astype(int)]


def _best(log: Sequence[Mapping[str, Any]], scale: _Scale) -> Best | None:
    """Return the first of the validations with the least loss, as training chooses it."""
    losses = [(row["loss"], row["step"]) for row in log if row["kind"] == "val" and np.isfinite(row["loss"])]
    if not losses:
        return None
    loss, step = min(losses)
    return Best((scale.x(step), scale.y(loss)), step, loss)


def _spread(low: float, high: float) -> list[float]:
    return [float(value) for value in np.linspace(low, high, _NUM_TICKS)]


def draw(plot: LossPlot, *, as_file: bool = False) -> str:
    """Return the plot as an `svg` element.

    Args:
        plot: the plot.
        as_file: with its own colours, background and legend, to stand alone; else for a page that has the classes.
    """
    top = -36.0 if as_file else 0.0
    space = ' xmlns="http://www.w3.org/2000/svg"' if as_file else ""
    box = f'viewBox="0 {top:g} {WIDTH:g} {HEIGHT - top:g}"'
    parts = [f'<svg{space} {box} role="img" aria-label={quoteattr(f"loss of {plot.label}")}>']
    if as_file:
        parts.append(f"<style>{_FILE_STYLE}</style>")
        parts.append(f'<rect y="{top:g}" width="{WIDTH:g}" height="{HEIGHT - top:g}" fill="#ffffff"/>')
        parts += _draw_legend(plot)
    parts += _draw_axes(plot)
    parts += [_draw_curve(curve) for curve in (plot.rate, *plot.curves) if curve is not None]
    if plot.best is not None:
        left, height = plot.best.place
        parts.append(f'<g class="val"><circle class="best" cx="{left}" cy="{height}" r="6.5"/></g>')
    return "\n".join([*parts, "</svg>"])


def legend(plot: LossPlot) -> list[tuple[str, str]]:
    """Return (kind, text) of each line of a plot."""
    names = {"train": "training", "val": "validation"}
    texts = [(curve.kind, f"{names[curve.kind]}, last {curve.last:.3f}") for curve in plot.curves]
    if plot.best is not None:
        texts.append(("best", f"best {plot.best.loss:.3f} after step {plot.best.step:,}"))
    if plot.rate is not None:
        texts.append(("rate", f"learning rate, peak {plot.peak_rate:.1e}"))
    return texts


def _draw_legend(plot: LossPlot) -> list[str]:
    """Return the legend as text, losses in one line, the rest in the next, in the colours of their curves."""
    lines: dict[bool, list[str]] = {True: [], False: []}
    for kind, text in legend(plot):
        colour = "val" if kind == "best" else kind
        lines[kind in {"train", "val"}].append(f'<tspan class="name {colour}">{escape(text)}</tspan>')
    gap = "&#160;&#160;&#160;"
    return [
        f'<text x="{LEFT:g}" y="{place}">{gap.join(spans)}</text>'
        for place, spans in ((-20, lines[True]), (-5, lines[False]))
        if spans
    ]


def _draw_axes(plot: LossPlot) -> list[str]:
    right, middle = WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2
    parts = []
    for tick in plot.y_ticks:
        parts.append(f'<line class="axis" x1="{LEFT:g}" x2="{right:g}" y1="{tick.place}" y2="{tick.place}"/>')
        parts.append(f'<text x="{LEFT - 6:g}" y="{tick.place + 4:g}" text-anchor="end">{escape(tick.text)}</text>')
    for tick in plot.x_ticks:
        anchor = "end" if tick.place == right else "middle"  # the last one would reach beyond the edge
        parts.append(f'<text x="{tick.place}" y="{HEIGHT - 18:g}" text-anchor="{anchor}">{escape(tick.text)}</text>')
    parts.append(f'<text x="{middle:g}" y="{HEIGHT - 3:g}" text-anchor="middle">optimizer step</text>')
    return parts


def _draw_curve(curve: Curve) -> str:
    markers = "".join(f'<circle cx="{left}" cy="{top}" r="3.2"/>' for left, top in curve.markers)
    return f'<g class="{curve.kind}"><polyline class="curve" points="{curve.points}"/>{markers}</g>'
