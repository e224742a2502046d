"""The report's first page as plain values for its template: statement and headline table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ecellm.evaluation.headline import (
    HeadlineRow,
    Verdict,
    format_interval,
    format_number,
    format_value,
    place_label,
    setting_label,
)
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.report.plots import PlotText, Point, Series, lines_plot
from ecellm.evaluation.report.standings import DOMAINS, Standing, best_standing, domain_of, main_rows, standings
from ecellm.tasks import RELEASED, find_task
from ecellm.tasks.binary_answers import BinaryTask
from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.sequential_recommendation import RecommendationTask

VERDICT_TEXTS: Mapping[Verdict, str] = {
    Verdict.ABOVE: "above the floor",
    Verdict.UNCLEAR: "not clearly above the floor",
    Verdict.BELOW: "below the floor",
    Verdict.UNKNOWN: "",
}
_MARKS = {Verdict.ABOVE: "▲", Verdict.UNCLEAR: "◇", Verdict.BELOW: "▼", Verdict.UNKNOWN: ""}
_NO_FIGURE = "n/a"
NOTHING_READ = "no readable answer"
_NO_METRIC = "none"  # in the metrics table, where no scorer knows the task
_DOMAIN_TITLES = {"IND": "In domain", "OOD": "Out of domain"}


@dataclass(frozen=True)
class Cell:
    """One figure: in the flavour that is shown first, and the released one beside it.

    Attributes:
        value: the figure, or why there is none in a word.
        interval: its 95 % interval, or why there is no figure, or nothing.
        released: the released scorer's figure; empty where that one is shown first.
        verdict: how it stands to the best floor, as a CSS class.
        mark: the same as a sign.
        verdict_text: the same in words.
        num_invalid: answers (rankings: parts of answers) that could not be read.
        rows: of how many rows it is, where another run answered more.
    """

    value: str
    interval: str = ""
    released: str = ""
    verdict: str = ""
    mark: str = ""
    verdict_text: str = ""
    num_invalid: int = 0
    rows: str = ""


def cell_of(shown: MetricRow | None, released: MetricRow | None, verdict: Verdict = Verdict.UNKNOWN) -> Cell:
    """Return the cell of a figure in both flavours; `released` is None where it is the one shown, or not there."""
    beside = "" if released is None or released["value"] is None else format_value(released)
    return Cell(
        _NO_FIGURE if leaves_out_all(shown) else format_value(shown),
        NOTHING_READ if leaves_out_all(shown) else format_interval(shown),
        f"{_NO_FIGURE}: {NOTHING_READ}" if leaves_out_all(released) else beside,
        "" if verdict is Verdict.UNKNOWN else verdict.value,
        _MARKS[verdict],
        VERDICT_TEXTS[verdict],
        shown["num_invalid"] if shown is not None else 0,
    )


def leaves_out_all(row: MetricRow | None) -> bool:
    """Return whether the released scorer left every answer out: its figure, a 0, is then of nothing."""
    if row is None or row["flavour"] != RELEASED or row["value"] is None:
        return False
    is_closed = isinstance(find_task(row["task"]), BinaryTask | LetterTask | RecommendationTask)
    return is_closed and row["num_invalid"] >= row["num_samples"]


def metric_title(metric: str) -> str:
    """Return a metric's name, or that there is none."""
    return "no scorer" if metric == _NO_METRIC else metric


def verdict_cell(value: str, of_run: MetricRow | None, verdict: Verdict) -> Cell:
    """Return the cell of a bare figure with the verdict on the run's figure over all its rows."""
    if leaves_out_all(of_run):
        return cell_of(of_run, None, verdict)
    name = "" if verdict is Verdict.UNKNOWN else verdict.value
    return Cell(value, verdict=name, mark=_MARKS[verdict], verdict_text=VERDICT_TEXTS[verdict])


@dataclass(frozen=True)
class HeadlineLine:
    """One line of the headline table; `unreadable` names what the cells' `num_invalid` counts."""

    task: str
    anchor: str
    metric: str
    place: str
    num_samples: int
    cells: tuple[Cell, ...]
    specialist: Cell
    specialist_name: str
    floor: Cell
    floor_name: str
    unreadable: str


@dataclass(frozen=True)
class HeadlineGroup:
    """The lines of one setting; `is_main` for the settings of the paper's own figures."""

    title: str
    label: str
    is_main: bool
    lines: tuple[HeadlineLine, ...]


def signed(value: float) -> str:
    """Return a difference with its sign, the minus as wide as the plus."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def signed_interval(low: float, high: float) -> str:
    """Return the interval of a difference."""
    return f"[{signed(low)}, {signed(high)}]"


def task_title(task: str) -> str:
    """Return a task's name as text."""
    return task.replace("_", " ")


def short_title(task: str) -> str:
    """Return the paper's abbreviation of a task, or its name."""
    known = find_task(task)
    return task_title(task) if known is None else known.short_name


def setting_title(setting: str) -> str:
    """Return a setting's domain and name, over a plot of its test."""
    return f"{_DOMAIN_TITLES.get(domain_of(setting), 'All')}: {setting_label(setting)}"


def headline_groups(rows: Sequence[HeadlineRow], anchors: Mapping[str, str]) -> list[HeadlineGroup]:
    """Return the headline table: the main settings of both domains first, then the others.

    Args:
        rows: the headline table.
        anchors: the task's page by task.
    """
    main = [row.setting for row in main_rows(rows)]
    settings = [*dict.fromkeys(main), *dict.fromkeys(row.setting for row in rows if row.setting not in main)]
    groups = []
    for setting in settings:
        own = [row for row in rows if row.setting == setting]
        title = _DOMAIN_TITLES.get(domain_of(setting), "")
        label = setting_label(setting)
        lines = tuple(_line(row, anchors[row.task]) for row in own)
        groups.append(HeadlineGroup(f"{title}: {label}" if title else label, label, setting in main, lines))
    return groups


def _line(row: HeadlineRow, anchor: str) -> HeadlineLine:
    both = zip(row.runs, row.released_runs, row.verdicts, strict=True)
    return HeadlineLine(
        task_title(row.task),
        anchor,
        metric_title(row.metric),
        place_label(row.setting, row.split),
        row.num_samples,
        tuple(
            replace(cell_of(run, released, verdict), rows=_rows_text(run, row.num_samples))
            for run, released, verdict in both
        ),
        cell_of(row.specialist, row.released_specialist),
        row.specialist["model"] if row.specialist else "",
        cell_of(row.floor, row.released_floor),
        row.floor["model"] if row.floor else "",
        unreadable_name(row.task),
    )


def _rows_text(run: MetricRow | None, most: int) -> str:
    return "" if run is None or run["num_samples"] == most else f"{run['num_samples']:,} of {most:,} rows"


def unreadable_name(task: str) -> str:
    """Return what the scorer counts as unreadable: answers, or parts of them where an answer is a ranking."""
    known = find_task(task)
    return "unreadable parts" if known is not None and known.ranks_choices else "unreadable"


@dataclass(frozen=True)
class StandingLine:
    """How one run does, in words and figures."""

    label: str
    number: int
    counts: tuple[str, ...]
    mean: str
    ind: str
    ood: str
    gap: str
    is_best: bool


@dataclass(frozen=True)
class Statement:
    """What the first page says before any table.

    Attributes:
        title: what the run below is: the one with the highest mean, or just the one that is shown.
        best: short name of the run that the page is about.
        number: its column.
        note: by what it was chosen, and which run comes next.
        num_above: tasks, counted by domain, in which it stands above the floor.
        num_compared: of how many.
        counts: the same for each domain in words.
        gap: how much lower or higher it is out of domain; empty if unknown.
        gap_text: over which tasks.
        below: where it is not better than the floor.
        unclear: where it is better, and chance may have made it so.
        lines: all runs.
    """

    title: str
    best: str
    number: int
    note: str
    num_above: int
    num_compared: int
    counts: tuple[str, ...]
    gap: str
    gap_text: str
    below: tuple[str, ...]
    unclear: tuple[str, ...]
    lines: tuple[StandingLine, ...]


def statement_of(rows: Sequence[HeadlineRow], labels: Sequence[str]) -> Statement:
    """Return the statement; the best run is the one with the highest mean, see `standings`."""
    found = standings(rows, len(labels))
    best = best_standing(found)
    by_verdict = {
        verdict: tuple(_shortfall(row, best.number) for row in best.not_above if row.verdicts[best.number] is verdict)
        for verdict in (Verdict.BELOW, Verdict.UNCLEAR)
    }
    return Statement(
        "Highest mean" if len(found) > 1 and best.mean is not None else "Run",
        labels[best.number],
        best.number,
        _ranking(found, best, labels),
        best.num_above,
        best.num_compared,
        _counts(best),
        _gap(best),
        f"{best.num_pairs} task{'s' if best.num_pairs != 1 else ''} that have both: "
        f"{format_number(best.ind)} in domain, {format_number(best.ood)} out of domain",
        by_verdict[Verdict.BELOW],
        by_verdict[Verdict.UNCLEAR],
        tuple(
            _standing_line(each, labels[each.number], is_best=each is best and best.mean is not None) for each in found
        ),
    )


def _ranking(found: Sequence[Standing], best: Standing, labels: Sequence[str]) -> str:
    """Return why the page is about this run."""
    if len(found) == 1:
        return "the only one"
    if best.mean is None:
        return "not comparable: the runs have no task with the same number of rows in common; the last run is shown"
    means = {each.number: each.mean for each in found if each is not best and each.mean is not None}
    if not means:
        return f"{format_number(best.mean)} over {_lines(best)}; no other run has figures"
    next_best = max(means, key=lambda number: means[number])
    others = f"next is {labels[next_best]} with {format_number(means[next_best])}"
    if tied := [labels[number] for number, mean in means.items() if mean == best.mean]:
        others = f"tied with {', '.join(tied)}"
    return f"{format_number(best.mean)} over {_lines(best)}; {others}"


def _lines(standing: Standing) -> str:
    left_out = f" ({standing.num_left_out} left out: not the same rows)" if standing.num_left_out else ""
    return f"{standing.num_lines} line{'s' if standing.num_lines != 1 else ''}{left_out}"


def _counts(standing: Standing) -> tuple[str, ...]:
    names = {"IND": "in domain", "OOD": "out of domain"}
    return tuple(
        f"{count.num_above} of {count.num_compared} {names.get(count.domain, '')}".rstrip() for count in standing.counts
    )


def _gap(standing: Standing) -> str:
    if standing.gap is None:
        return ""
    return f"{abs(standing.gap):.3f} {'lower' if standing.gap >= 0 else 'higher'}"


def _standing_line(standing: Standing, label: str, *, is_best: bool) -> StandingLine:
    by_domain = {count.domain: f"{count.num_above} of {count.num_compared}" for count in standing.counts}
    counts = tuple(by_domain.get(domain, "-") for domain in DOMAINS)
    means = format_number(standing.mean), format_number(standing.ind), format_number(standing.ood)
    return StandingLine(label, standing.number, counts, *means, _gap(standing) or "-", is_best)


def _shortfall(row: HeadlineRow, number: int) -> str:
    run, floor = row.runs[number], row.floor
    name = f"{task_title(row.task)}, {place_label(row.setting, row.split)}"
    return f"{name}: {row.metric} {format_value(run)}, {floor['model'] if floor else ''} {format_value(floor)}"


def headline_plots(rows: Sequence[HeadlineRow], labels: Sequence[str]) -> list[str]:
    """Return a plot for each domain's main setting."""
    plots: list[str] = []
    for setting in dict.fromkeys(row.setting for row in main_rows(rows)):
        own = [row for row in rows if row.setting == setting and any(_is_known(run) for run in row.runs)]
        if own:
            text = PlotText(setting_title(setting), "headline metric", "task")
            series = [
                Series(label, number, [point_of(row.runs[number]) for row in own])
                for number, label in enumerate(labels)
            ]
            floors = [row.floor["value"] if row.floor else None for row in own]
            names = [f"{short_title(row.task)} {row.metric}" for row in own]
            plots.append(lines_plot(text, names, series, name=f"headline-{len(plots)}", floors=floors))
    return plots


def _is_known(row: MetricRow | None) -> bool:
    return row is not None and row["value"] is not None


def point_of(row: MetricRow | None) -> Point | None:
    """Return a figure as a plot has it."""
    if row is None or row["value"] is None:
        return None
    return Point(row["value"], *(row["value"] if row[end] is None else row[end] for end in ("ci_low", "ci_high")))
