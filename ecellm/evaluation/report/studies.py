"""The report's page of studies as plain values for its template: curves, figures with intervals, paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.evaluation.floors import ROLE as FLOOR_ROLE
from ecellm.evaluation.floors import Place, best_floors, of_flavour
from ecellm.evaluation.headline import format_interval, format_value, order_of, shown_flavour
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.report.comparisons import SIGNIFICANT, p_text, resolution_note
from ecellm.evaluation.report.first_page import point_of, short_title, signed, signed_interval, task_title
from ecellm.evaluation.report.plots import PlotText, Series, curve_plot, lines_plot

StudyRow = dict[str, Any]


@dataclass(frozen=True)
class StudyCell:
    """One arm's figure; `verdict` is `above` or `below` where the adjusted p says that it is no chance."""

    value: str = "-"
    interval: str = ""
    difference: str = ""
    test: str = ""
    verdict: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class StudyLine:
    """One task under one condition, an arm in each cell."""

    task: str
    anchor: str
    metric: str
    num_samples: int
    cells: tuple[StudyCell, ...]
    floor: str
    floor_name: str


@dataclass(frozen=True)
class StudyGroup:
    """All tasks under one condition."""

    condition: str
    lines: tuple[StudyLine, ...]


@dataclass(frozen=True)
class StudyArmView:
    """An arm: what it is compared with, empty for nothing, and how often it was clearly better or worse."""

    name: str
    against: str
    text: str


@dataclass(frozen=True)
class StudyView:
    """One study; `note` says what its tests cannot show."""

    name: str
    note: str
    arms: tuple[StudyArmView, ...]
    plots: tuple[str, ...]
    groups: tuple[StudyGroup, ...]


@dataclass(frozen=True)
class Around:
    """What the studies stand in.

    Attributes:
        anchors: the task's page by task; tasks that no column of the report answers have none.
        floors: the best floors of the flavour that is shown, by place.
        num_resamples: how often a p-value's test drew; None if unknown.
    """

    anchors: Mapping[str, str]
    floors: Mapping[Place, MetricRow]
    num_resamples: int | None

    def floor_of(self, row: StudyRow) -> MetricRow | None:
        """Return the best floor where a figure stands."""
        return self.floors.get((row["task"], row["setting"], row["split"]))


def study_views(
    rows: Sequence[StudyRow], metrics: Sequence[MetricRow], anchors: Mapping[str, str], num_resamples: int | None
) -> list[StudyView]:
    """Return the studies, in the flavour that is shown first.

    Args:
        rows: the studies table.
        metrics: the metrics table, which knows the floors.
        anchors: the task's page by task; tasks that no column of the report answers have none.
        num_resamples: how often a p-value's test drew; None if unknown.
    """
    flavour = shown_flavour(metrics)
    floors = best_floors(row for row in of_flavour(metrics, flavour) if row["role"] == FLOOR_ROLE)
    around = Around(anchors, floors, num_resamples)
    shown = [row for row in rows if row["flavour"] == flavour]
    names = dict.fromkeys(row["study"] for row in shown)
    return [
        _view(name, [row for row in shown if row["study"] == name], around, f"study-{number}")
        for number, name in enumerate(names)
    ]


def _view(name: str, rows: Sequence[StudyRow], around: Around, plot_name: str) -> StudyView:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    has_axis = rows[0]["axis"] is not None
    plots = _curves(rows, conditions, plot_name) if has_axis else _lines(rows, arms, conditions, plot_name)
    groups = [
        _group(condition, [row for row in rows if row["condition"] == condition], arms, around)
        for condition in conditions
    ]
    views = [_arm(arm, [row for row in rows if row["arm"] == arm], around) for arm in arms]
    num_tests = sum(row["p_value"] is not None for row in rows)
    note = resolution_note(num_tests, around.num_resamples)
    return StudyView(name, note, tuple(views), tuple(plots), tuple(groups))


def _tasks(rows: Sequence[StudyRow]) -> list[str]:
    """Return the tasks in the order of the report."""
    return list(dict.fromkeys(row["task"] for row in sorted(rows, key=lambda row: order_of((row["task"], "", "")))))


def _arm(name: str, rows: Sequence[StudyRow], around: Around) -> StudyArmView:
    tested = [row for row in rows if row["against"] is not None]
    if not tested:
        return StudyArmView(name, "", "")
    verdicts = [_verdict(row, around) for row in tested]
    better, worse = verdicts.count("above"), verdicts.count("below")
    text = f"clearly better in {better}, clearly worse in {worse} of {len(tested)} tests"
    return StudyArmView(name, tested[0]["against"], text)


def _verdict(row: StudyRow, around: Around) -> str:
    """Return which arm is better, unless chance may have made it so; who is not above the floor is not praised."""
    if row["p_adjusted"] is None or row["p_adjusted"] >= SIGNIFICANT:
        return ""
    if row["difference"] <= 0:
        return "below"
    floor = around.floor_of(row)
    return "" if floor is not None and row["value"] <= floor["value"] else "above"


def _group(condition: str, rows: Sequence[StudyRow], arms: Sequence[str], around: Around) -> StudyGroup:
    lines = []
    for task in _tasks(rows):
        by_arm = {row["arm"]: row for row in rows if row["task"] == task}
        first = next(iter(by_arm.values()))
        cells = tuple(_cell(by_arm[arm], around) if arm in by_arm else StudyCell() for arm in arms)
        most = max(row["num_samples"] for row in by_arm.values())
        floor = around.floor_of(first)
        named = (format_value(floor), floor["model"] if floor else "")
        lines.append(StudyLine(task_title(task), around.anchors.get(task, ""), first["metric"], most, cells, *named))
    return StudyGroup(condition, tuple(lines))


def _cell(row: StudyRow, around: Around) -> StudyCell:
    value, interval = format_value(row), format_interval(row)
    if row["difference"] is None:
        return StudyCell(value, interval, run_id=row["run_id"])
    ends = signed_interval(row["difference_ci_low"], row["difference_ci_high"])
    return StudyCell(
        value,
        interval,
        f"{signed(row['difference'])} {ends}",
        f"p adjusted {p_text(row['p_adjusted'])}, {row['num_paired']:,} rows",
        _verdict(row, around),
        row["run_id"],
    )


def _curves(rows: Sequence[StudyRow], conditions: Sequence[str], name: str) -> list[str]:
    """Return a plot for each task: its figure over x, a curve for each condition."""
    plots: list[str] = []
    for task in _tasks(rows):
        own = [row for row in rows if row["task"] == task]
        xs = sorted({row["x"] for row in own})
        series = []
        for number, condition in enumerate(conditions):
            by_x = {row["x"]: row for row in own if row["condition"] == condition}
            if by_x:
                series.append(Series(condition, number, [point_of(by_x.get(x)) for x in xs]))
        text = PlotText(short_title(task), own[0]["metric"], own[0]["axis"])
        plots.append(curve_plot(text, xs, series, name=f"{name}-{len(plots)}"))
    return plots


def _lines(rows: Sequence[StudyRow], arms: Sequence[str], conditions: Sequence[str], name: str) -> list[str]:
    """Return a plot for each condition: its tasks from top to bottom, with the figures of all arms."""
    plots: list[str] = []
    for condition in conditions:
        own = [row for row in rows if row["condition"] == condition]
        tasks = _tasks(own)
        found = {(row["arm"], row["task"]): row for row in own}
        metrics = {row["task"]: row["metric"] for row in own}
        series = [
            Series(arm, number, [point_of(found.get((arm, task))) for task in tasks]) for number, arm in enumerate(arms)
        ]
        text = PlotText(condition, "figure", "task")
        labels = [f"{short_title(task)} {metrics[task]}" for task in tasks]
        plots.append(lines_plot(text, labels, series, name=f"{name}-{len(plots)}"))
    return plots
