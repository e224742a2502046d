"""Loss curves: from rows of the training log to a plot, for the report's page and as a file beside a model.

Losses stand on the left axis: training grey, validation blue with points and a ring around the best. The learning rate
is a dashed line on the right axis. `facts` gives the same figures as text, for a table beside the plot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ecellm.svg_plots import COLOURS, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 400, 290
_MAX_POINTS = 400
_TRAIN, _VAL, _RATE = COLOURS["run-0"], COLOURS["run-1"], COLOURS["run-2"]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LossCurve:
    """The curves of one training run.

    Attributes:
        label: the run's short name.
        train: training loss, float64 [num_points, 2] of step and value, thinned to what a small plot can show.
        val: validation loss.
        rate: learning rate.
        best: step and loss of the best validation; None without one.
    """

    label: str
    train: Points
    val: Points
    rate: Points
    best: tuple[int, float] | None

    def facts(self) -> dict[str, str]:
        """Return what the plot shows in figures, by name; `-` where there are none."""
        return {
            "steps": f"{max(_last(self.train)[0], _last(self.val)[0]):,.0f}",
            "last training loss": _loss_text(_last(self.train)[1]) if len(self.train) else "-",
            "last validation loss": _loss_text(_last(self.val)[1]) if len(self.val) else "-",
            "best validation loss": f"{_loss_text(self.best[1])} after step {self.best[0]:,}" if self.best else "-",
            "highest learning rate": f"{self.rate[:, 1].max():.1e}" if len(self.rate) else "-",
        }


def loss_curve(label: str, log: Sequence[Mapping[str, Any]]) -> LossCurve | None:
    """Return the curves of one run; None if the log has no finite loss.

    Args:
        label: the run's short name.
        log: rows of the training log: `step`, `kind`, `loss`, and `learning_rate` where it is known.
    """
    train, val = (_series(log, kind, "loss") for kind in ("train", "val"))
    if not len(train) and not len(val):
        return None
    return LossCurve(label, train, val, _series(log, "train", "learning_rate"), _best(log))


def _series(log: Sequence[Mapping[str, Any]], kind: str, column: str) -> Points:
    """Return [num_points, 2] of step and value, thinned; the last point stays."""
    rows = ((row["step"], row.get(column)) for row in log if row["kind"] == kind)
    known = sorted((step, value) for step, value in rows if value is not None and np.isfinite(value))
    points = np.array(known, float).reshape(-1, 2)
    if len(points) <= _MAX_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MAX_POINTS).round().astype(int)]


def _best(log: Sequence[Mapping[str, Any]]) -> tuple[int, float] | None:
    """Return the first of the validations with the least loss, as training chooses it."""
    losses = [
        (row["loss"], row["step"])
        for row in log
        if row["kind"] == "val" and row["loss"] is not None and np.isfinite(row["loss"])
    ]
    if not losses:
        return None
    loss, step = min(losses)
    return step, loss


def _loss_text(loss: float) -> str:
    return f"{loss:.3f}" if abs(loss) < 1e6 else f"{loss:.3g}"


def _last(points: Points) -> tuple[float, float]:
    return (float(points[-1, 0]), float(points[-1, 1])) if len(points) else (0.0, 0.0)


def draw_loss(curve: LossCurve, *, name: str = "loss", is_file: bool = False) -> str:
    """Return the plot as an `svg` element.

    Args:
        curve: the curves.
        name: tells the plot's ids from those of others on the page.
        is_file: to stand alone; else for a page that has the colours.
    """
    label = f"Loss and learning rate of {curve.label} over optimizer steps: " + ", ".join(
        f"{key} {value}" for key, value in curve.facts().items() if value != "-"
    )
    paint = partial(_paint, curve=curve)
    return draw(paint, title=curve.label, label=label, name=name, width=_WIDTH, height=_HEIGHT, is_file=is_file)


def _paint(figure: "Figure", curve: LossCurve) -> None:
    axes = figure.subplots()
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss on the answers")
    axes.grid(axis="y")
    axes.tick_params(length=0)
    if len(curve.rate):
        _paint_rate(axes, curve.rate)
    if len(curve.train):
        axes.plot(*curve.train.T, color=_TRAIN, linewidth=1.6, label="training loss")
    if len(curve.val):
        axes.plot(*curve.val.T, color=_VAL, linewidth=1.6, marker="o", markersize=4, label="validation loss")
    if curve.best is not None:
        step, loss = curve.best
        axes.plot(
            step,
            loss,
            "o",
            color=_VAL,
            label="best validation",
            markersize=10,
            markerfacecolor="none",
            markeredgewidth=1.6,
        )
    handles, labels = axes.get_legend_handles_labels()
    if len(curve.rate):
        handles.append(axes.plot([], [], color=_RATE, linewidth=1.2, dashes=(4, 3))[0])
        labels.append("learning rate")
    figure.legend(handles, labels, loc="outside lower left", ncols=2, handlelength=1.6, columnspacing=1.4)


def _paint_rate(axes: "Axes", rate: Points) -> None:
    from matplotlib.ticker import MaxNLocator

    right = axes.twinx()
    right.plot(*rate.T, color=_RATE, linewidth=1.2, dashes=(4, 3))
    right.set_ylim(bottom=0.0)
    right.set_ylabel("learning rate")
    right.tick_params(length=0)
    right.yaxis.set_major_formatter(lambda value, _place: f"{value:.1e}" if value else "0")
    right.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_zorder(right.get_zorder() + 1)  # the losses lie above the learning rate
    axes.patch.set_visible(False)
