"""The report: one self-contained HTML page from the metrics table, comparisons and training logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ecellm.evaluation.floors import ROLE, place_of
from ecellm.evaluation.headline import (
    HeadlineRow,
    count_line,
    format_figure,
    format_interval,
    format_value,
    headline_rows,
    order_of,
    setting_label,
)
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.loss_curve import LossPlot, draw, legend
from ecellm.tasks import find_task

_TEMPLATE = "report.html"
_CHART_WIDTH, _LINE_HEIGHT = 200, 14
_NUM_COLOURS = 6
Labels = Mapping[str, str]  # run_id -> short name, in the order of the columns


@dataclass(frozen=True)
class RunInfo:
    """What is known of one run.

    Attributes:
        label: its short name in the tables.
        run_id: as in the metrics table.
        model: model and adapter.
        engine: what ran it.
        decoding: how answers were drawn.
        num_rows: samples answered, in all tasks.
        num_errors: samples that failed and have no answer.
    """

    label: str
    run_id: str
    model: str
    engine: str
    decoding: str
    num_rows: int
    num_errors: int


@dataclass(frozen=True)
class Mark:
    """A run's interval in the chart of one line: all places in pixels."""

    text: str
    colour: int
    top: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Chart:
    """The picture of one headline row: runs from top to bottom, and the floor as a vertical line."""

    width: int
    height: int
    marks: tuple[Mark, ...]
    floor: float | None


def chart_of(row: HeadlineRow, labels: Sequence[str]) -> Chart:
    """Place a row's figures, which lie between 0 and 1 (repeated hits may exceed it), on a line."""

    def place(value: float) -> float:
        return round(4 + min(max(value, 0.0), 1.0) * (_CHART_WIDTH - 8), 1)

    marks = []
    for number, (run, label) in enumerate(zip(row.runs, labels, strict=True)):
        if run is not None and run["value"] is not None:
            ends = [run["value"] if run[name] is None else run[name] for name in ("ci_low", "ci_high")]
            places = [place(value) for value in (run["value"], *ends)]
            top = number * _LINE_HEIGHT + _LINE_HEIGHT // 2
            marks.append(Mark(f"{label}: {format_figure(run)}", number % _NUM_COLOURS, top, *places))
    floor = None if row.floor is None else place(row.floor["value"])
    return Chart(_CHART_WIDTH, _LINE_HEIGHT * len(row.runs), tuple(marks), floor)


@dataclass(frozen=True)
class MetricsLine:
    """All metrics of one run or trivial baseline in one setting; `figures` are value and interval by column."""

    setting: str
    answers: str
    is_floor: bool
    num_samples: int
    num_invalid: int
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TaskTable:
    """All metrics of one task."""

    name: str
    description: str
    headline: str | None
    metrics: tuple[str, ...]
    lines: tuple[MetricsLine, ...]


def _task_table(name: str, rows: Sequence[MetricRow], lines: Sequence[HeadlineRow], labels: Labels) -> TaskTable:
    task = find_task(name)
    body: list[MetricsLine] = []
    for line in lines:
        if line.task == name:
            here = [row for row in rows if place_of(row) == (name, line.setting, line.split)]
            body += _metrics_lines(here, labels)
    if task is None:
        return TaskTable(name, "a task of your own", None, ("none",), tuple(body))
    return TaskTable(name, task.description, task.headline_metric, task.metric_names, tuple(body))


def _metrics_lines(rows: Sequence[MetricRow], labels: Labels) -> list[MetricsLine]:
    """Return a line for each run, in the order of the columns, and then for each trivial baseline."""
    baselines = sorted({row["run_id"] for row in rows} - labels.keys())
    result = []
    for run_id in (*labels, *baselines):
        own = [row for row in rows if row["run_id"] == run_id]
        if own:
            first = own[0]
            figures = tuple((format_value(row), format_interval(row)) for row in own)
            answers, setting = labels.get(run_id, first["model"]), setting_label(first["setting"])
            counts = first["num_samples"], first["num_invalid"]
            result.append(MetricsLine(setting, answers, first["role"] == ROLE, *counts, figures))
    return result


def _notes(rows: Sequence[MetricRow]) -> list[dict[str, str]]:
    """Return why figures are absent: task, metrics, reason."""
    metrics_of: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["reason"] is not None and row["role"] != ROLE:
            metrics_of.setdefault((row["task"], row["reason"]), {})[row["metric"]] = None
    return [
        {"task": task, "metrics": ", ".join(metrics), "reason": reason}
        for (task, reason), metrics in metrics_of.items()
    ]


def render(
    rows: Sequence[MetricRow],
    runs: Sequence[RunInfo],
    comparisons: Sequence[Mapping[str, Any]],
    plots: Sequence[LossPlot],
) -> str:
    """Return the page.

    Args:
        rows: the metrics table.
        runs: the runs in the order of their columns.
        comparisons: the comparisons table.
        plots: loss curves.
    """
    labels = {run.run_id: run.label for run in runs}
    lines = headline_rows(rows, list(labels))
    environment = Environment(
        loader=PackageLoader("ecellm", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = list(dict.fromkeys(line.task for line in lines))
    return environment.get_template(_TEMPLATE).render(
        headline=[_headline_view(row, labels) for row in lines],
        count=count_line(lines),
        runs=runs,
        num_colours=_NUM_COLOURS,
        tables=[_task_table(name, rows, lines, labels) for name in names],
        comparisons=[
            {**row, "run": labels[row["run_id"]], "baseline": labels[row["baseline_run_id"]]}
            for row in sorted(comparisons, key=lambda row: order_of((row["task"], row["setting"], row["split"])))
        ],
        setting_label=setting_label,
        plots=plots,
        legend=legend,
        draw=draw,
        notes=_notes(rows),
    )


def _headline_view(row: HeadlineRow, labels: Labels) -> dict[str, Any]:
    return {
        "row": row,
        "setting": setting_label(row.setting),
        "figures": [(format_value(run), format_interval(run), run["num_invalid"] if run else 0) for run in row.runs],
        "floor": (format_value(row.floor), row.floor["model"] if row.floor else ""),
        "chart": chart_of(row, list(labels.values())),
    }
