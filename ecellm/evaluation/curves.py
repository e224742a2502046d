"""Loss curves as SVG coordinates: from rows of the training log to what the report's template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT = 560.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 34.0
_MAX_POINTS = 400
_NUM_TICKS = 4


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One line of a plot: `points` is the attribute of an SVG polyline, `last` the last loss."""

    kind: str
    points: str
    markers: tuple[tuple[float, float], ...]
    last: float


@dataclass(frozen=True)
class LossPlot:
    """The curves of one training run, scaled to a box of WIDTH x HEIGHT."""

    label: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def loss_plot(label: str, log: Sequence[Mapping[str, Any]]) -> LossPlot | None:
    """Scale the training and validation losses of one run; None if the log has no finite loss.

    Args:
        label: the run's short name.
        log: rows of the training log.
    """
    series = {kind: _series(log, kind) for kind in ("train", "val")}
    series = {kind: points for kind, points in series.items() if len(points)}
    if not series:
        return None
    everything = np.concatenate(list(series.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)
    x_span, y_span = np.maximum(high - low, 1e-9)

    def x(step: float) -> float:
        return round(float(LEFT + (step - low[0]) / x_span * (WIDTH - LEFT - RIGHT)), 1)

    def y(loss: float) -> float:
        return round(float(HEIGHT - BOTTOM - (loss - low[1]) / y_span * (HEIGHT - TOP - BOTTOM)), 1)

    curves = []
    for kind, points in series.items():
        places = tuple((x(step), y(loss)) for step, loss in points)
        text = " ".join(f"{left},{top}" for left, top in places)
        curves.append(Curve(kind, text, places if kind == "val" else (), float(points[-1, 1])))
    return LossPlot(
        label,
        tuple(curves),
        tuple(Tick(x(step), f"{step:,.0f}") for step in sorted({round(s) for s in _spread(low[0], high[0])})),
        tuple(Tick(y(loss), f"{loss:.2f}") for loss in _spread(low[1], high[1])),
    )


def _series(log: Sequence[Mapping[str, Any]], kind: str) -> np.ndarray:
    """Return [num_points, 2] of step and loss, thinned to what a small plot can show; the last point stays."""
    rows = sorted((row["step"], row["loss"]) for row in log if row["kind"] == kind and np.isfinite(row["loss"]))
    points = np.array(rows, float).reshape(-1, 2)
    if len(points) <= _MAX_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MAX_POINTS).round().astype(int)]


def _spread(low: float, high: float) -> list[float]:
    return [float(value) for value in np.linspace(low, high, _NUM_TICKS)]
