"""The report's pages of the tasks as plain values for their template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ecellm.evaluation.floors import ROLE as FLOOR_ROLE
from ecellm.evaluation.headline import SPECIALIST_ROLE, HeadlineRow, Verdict, place_label
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.published import reference_models
from ecellm.evaluation.report.answers import ConfusionView, FailureLine, Scans, confusion_views, failure_lines
from ecellm.evaluation.report.first_page import Cell, cell_of, task_title, unreadable_name
from ecellm.evaluation.report.paper import Comparability
from ecellm.evaluation.report.slices import SliceSource, SliceView, slice_views
from ecellm.evaluation.report.standings import main_rows
from ecellm.tasks import RELEASED, find_task

OfRun = Mapping[tuple[str, str], MetricRow]  # (metric, flavour) -> row


@dataclass(frozen=True)
class MetricsLine:
    """All metrics of one run, task-specific model (`specialist`), `floor` or model of the paper (`paper`) in one place.

    `reason` says why a line of the paper must not be compared with ours.
    """

    kind: str
    label: str
    number: int
    cells: tuple[Cell, ...]
    num_samples: int
    num_invalid: int
    reason: str = ""


@dataclass(frozen=True)
class MetricsGroup:
    """The lines of one place; `is_main` for the settings of the paper's own figures."""

    title: str
    label: str
    is_main: bool
    lines: tuple[MetricsLine, ...]


@dataclass(frozen=True)
class PlaceVerdict:
    """How the best run does in one place, beside the best floor."""

    place: str
    cell: Cell
    floor_name: str
    floor_value: str


@dataclass(frozen=True)
class TaskView:
    """The page of one task.

    Attributes:
        anchor: id of its section.
        title: its name.
        description: what is asked.
        headline: the headline metric; empty for a task of the user's own.
        unreadable: what is counted as unreadable.
        verdicts: how the best run does in the main settings.
        metrics: names of all metrics.
        groups: all figures by place.
        slices: figures of parts of the rows.
        confusions: references by answers.
        failures: what could not be read.
        query: what shows its samples; empty without any.
    """

    anchor: str
    title: str
    description: str
    headline: str
    unreadable: str
    verdicts: tuple[PlaceVerdict, ...]
    metrics: tuple[str, ...]
    groups: tuple[MetricsGroup, ...]
    slices: tuple[SliceView, ...] = ()
    confusions: tuple[ConfusionView, ...] = ()
    failures: tuple[FailureLine, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_paper(self) -> bool:
        """Whether figures of the paper are among the metrics."""
        return any(line.kind == "paper" for group in self.groups for line in group.lines)

    @property
    def paper_reasons(self) -> list[str]:
        """Why figures of the paper must not be compared with ours."""
        return list(dict.fromkeys(line.reason for group in self.groups for line in group.lines if line.reason))

    @property
    def worst(self) -> Cell:
        """The cell of the worst verdict in the main settings."""
        order = [Verdict.BELOW, Verdict.UNCLEAR, Verdict.ABOVE]
        known = [each.cell for each in self.verdicts if each.cell.verdict]
        return min(known, key=lambda cell: order.index(Verdict(cell.verdict)), default=Cell(""))


def task_view(
    anchor: str,
    lines: Sequence[HeadlineRow],
    rows: Sequence[MetricRow],
    scans: Scans,
    comparability: Comparability,
    *,
    labels: Mapping[str, str],
    best_run: int,
) -> TaskView:
    """Return the page of one task.

    Args:
        anchor: id of its section.
        lines: its lines of the headline table.
        rows: its rows of the metrics table, slices too.
        scans: what each run answered, by (setting, task) and run.
        comparability: tells whether a figure may be compared with the paper's.
        labels: short names of the runs by run_id, in the order of the columns.
        best_run: column of the best run.
    """
    main = main_rows(lines)
    ordered = [*main, *(line for line in lines if line not in main)]
    name = lines[0].task
    task = find_task(name)
    metrics = _metric_names(rows, lines[0].flavour)
    own_scans = {place: by_run for place, by_run in scans.items() if place[1] == name}
    names = list(labels.values())
    groups = tuple(_metrics_group(line, rows, metrics, labels, comparability, is_main=line in main) for line in ordered)
    return TaskView(
        anchor=anchor,
        title=task_title(name),
        description="A task of your own: no scorer knows it" if task is None else task.description,
        headline="" if task is None else task.headline_metric,
        unreadable=unreadable_name(name).capitalize(),
        verdicts=tuple(_verdict(line, best_run) for line in main),
        metrics=metrics,
        groups=groups,
        slices=tuple(slice_views(SliceSource(anchor, ordered, len(main), rows, labels))),
        confusions=tuple(confusion_views(own_scans, names, {line.setting for line in main})),
        failures=tuple(failure_lines(own_scans, names)),
        query={"task": name, "setting": main[0].setting} if own_scans else {},
    )


def _verdict(line: HeadlineRow, run: int) -> PlaceVerdict:
    cell = cell_of(line.runs[run], line.released_runs[run], line.verdicts[run])
    floor = cell_of(line.floor, None)
    name = line.floor["model"] if line.floor else ""
    return PlaceVerdict(place_label(line.setting, line.split), cell, name, floor.value)


def _metric_names(rows: Sequence[MetricRow], flavour: str) -> tuple[str, ...]:
    """Return all metrics: those of the flavour shown first, in their order, then what the other one adds."""
    whole = [row for row in rows if row["slice_name"] is None]
    shown = [row["metric"] for row in whole if row["flavour"] == flavour]
    return tuple(dict.fromkeys([*shown, *(row["metric"] for row in whole)]))


def _metrics_group(
    line: HeadlineRow,
    rows: Sequence[MetricRow],
    metrics: Sequence[str],
    labels: Mapping[str, str],
    comparability: Comparability,
    *,
    is_main: bool,
) -> MetricsGroup:
    own: dict[str, dict[tuple[str, str], MetricRow]] = {}
    for row in rows:
        if row["slice_name"] is None and (row["setting"], row["split"]) == (line.setting, line.split):
            own.setdefault(row["run_id"], {})[row["metric"], row["flavour"]] = row
    lines = []
    for number, (run_id, label) in enumerate(labels.items()):
        if run_id in own:
            lines.append(_metrics_line(label, number, own[run_id], metrics, line.flavour))
    for run_id in sorted(own):
        first = next(iter(own[run_id].values()))
        if first["role"] == FLOOR_ROLE or (first["role"] == SPECIALIST_ROLE and run_id not in labels):
            lines.append(_metrics_line(first["model"], None, own[run_id], metrics, line.flavour))
    lines += _paper_lines(line, metrics, comparability)
    label = place_label(line.setting, line.split)
    return MetricsGroup(f"{label}, {line.num_samples:,} rows", label, is_main, tuple(lines))


def _metrics_line(label: str, number: int | None, of: OfRun, metrics: Sequence[str], flavour: str) -> MetricsLine:
    """Return the line of a run, or of a task-specific model or floor, which have no number."""
    has_released = flavour != RELEASED
    cells = tuple(
        cell_of(of.get((name, flavour)), of.get((name, RELEASED)) if has_released else None) for name in metrics
    )
    first = next((row for (_, own), row in of.items() if own == flavour), next(iter(of.values())))
    kind = "run"
    if number is None:
        kind = "specialist" if first["role"] == SPECIALIST_ROLE else "floor"
    return MetricsLine(kind, label, number or 0, cells, first["num_samples"], first["num_invalid"])


def _paper_lines(line: HeadlineRow, metrics: Sequence[str], comparability: Comparability) -> list[MetricsLine]:
    lines = []
    ours = next((run for run in line.figures(RELEASED).runs if run is not None), None)
    reason = "" if ours is None else comparability(ours)[0] or ""
    for model in reference_models(line.task, line.setting) if line.split == "test" else ():
        cells = tuple(_paper_cell(model.values.get(name), line.flavour) for name in metrics)
        lines.append(MetricsLine("paper", model.label, 0, cells, model.num_samples, model.num_invalid, reason))
    return lines


def _paper_cell(value: float | None, flavour: str) -> Cell:
    """Return a figure of the paper, which stands where those of the released scorer stand."""
    text = "" if value is None else f"{value:.3f}"
    return Cell(text) if flavour == RELEASED else Cell("", released=text)
