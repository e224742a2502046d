"""The report's page of comparisons between runs as plain values for its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ecellm.evaluation.floors import Place
from ecellm.evaluation.headline import HeadlineRow, Verdict, format_number, format_value, order_of, place_label
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.report.first_page import (
    Cell,
    leaves_out_all,
    setting_title,
    short_title,
    signed,
    signed_interval,
    task_title,
    verdict_cell,
)
from ecellm.evaluation.report.plots import PlotText, Point, difference_plot
from ecellm.tasks import FLAVOURS

SIGNIFICANT = 0.05
Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison in one flavour; `is_second` where the line before is of the same place in another flavour.

    `verdict` is empty where the difference is no praise: chance may have made it, or the run is no better than a
    floor.
    """

    task: str
    anchor: str
    place: str
    metric: str
    flavour: str
    value: Cell
    baseline_value: Cell
    floor: str
    floor_name: str
    difference: str
    interval: str
    verdict: str
    p_value: str
    p_adjusted: str
    num_samples: int
    is_second: bool


@dataclass(frozen=True)
class ComparisonPair:
    """All comparisons of one run with one baseline; `note` says what they cannot show."""

    run: str
    run_number: int
    baseline: str
    baseline_number: int
    note: str
    plots: tuple[str, ...]
    lines: tuple[ComparisonLine, ...]


def comparison_pairs(
    rows: Sequence[Comparison],
    headline: Sequence[HeadlineRow],
    labels: Mapping[str, str],
    anchors: Mapping[str, str],
    flavour: str,
    *,
    num_resamples: int | None = None,
) -> list[ComparisonPair]:
    """Return the comparisons by pairs of runs.

    Args:
        rows: the comparisons table.
        headline: the headline table, which knows the floors.
        labels: short names of the runs by run_id, in the order of the columns.
        anchors: the task's page by task.
        flavour: what is shown first, and what the plots show.
        num_resamples: how often a p-value's test drew; None if unknown.
    """
    numbers = {run_id: number for number, run_id in enumerate(labels)}
    pairs: dict[tuple[int, int], list[Comparison]] = {}
    for row in rows:
        if row["run_id"] not in numbers or row["baseline_run_id"] not in numbers:
            continue  # a task-specific model without a column of its own
        pairs.setdefault((numbers[row["run_id"]], numbers[row["baseline_run_id"]]), []).append(row)
    names = list(labels.values())
    places = {line.place: line for line in headline}
    result = []
    for (run, baseline), own in sorted(pairs.items()):
        ordered = sorted(own, key=lambda row: (order_of(_place(row)), _flavour_order(row, flavour)))
        lines = []
        for before, row in zip([None, *ordered], ordered, strict=False):
            is_second = before is not None and _place(before) == _place(row)
            standing = _standing(places[_place(row)], row["flavour"], run, baseline)
            lines.append(_line(row, anchors[row["task"]], standing, is_second=is_second))
        shown = [(row, line.verdict) for row, line in zip(ordered, lines, strict=True) if row["flavour"] == flavour]
        note = resolution_note(len(shown), num_resamples)
        plots = _plots(shown, f"{run}-{baseline}")
        result.append(ComparisonPair(names[run], run, names[baseline], baseline, note, plots, tuple(lines)))
    return result


def resolution_note(num_compared: int, num_resamples: int | None) -> str:
    """Return that no difference can stand out, where so few resamples cannot give a small enough adjusted p."""
    if num_resamples is None:
        return ""
    least = min(1.0, num_compared / (num_resamples + 1))
    if least < SIGNIFICANT:
        return ""
    return (
        f"With {num_resamples:,} resamples and {num_compared} comparisons no adjusted p can be below {least:.2f}: "
        "whatever the difference, it does not count as clear. More resamples can tell."
    )


@dataclass(frozen=True)
class _Standing:
    """The figures of a comparison's two runs in its flavour, and how they stand to the best floor."""

    run: MetricRow | None
    baseline: MetricRow | None
    run_verdict: Verdict
    baseline_verdict: Verdict
    floor: MetricRow | None


def _standing(line: HeadlineRow, flavour: str, run: int, baseline: int) -> _Standing:
    runs, floor, verdicts = line.figures(flavour)
    return _Standing(runs[run], runs[baseline], verdicts[run], verdicts[baseline], floor)


def _place(row: Comparison) -> Place:
    return row["task"], row["setting"], row["split"]


def _flavour_order(row: Comparison, shown: str) -> tuple[bool, int]:
    return row["flavour"] != shown, FLAVOURS.index(row["flavour"])


def _verdict(row: Comparison, standing: _Standing) -> str:
    """Return which run is better, unless chance may have made it so: by the adjusted p, else by the interval.

    A run that is no better than a floor is not praised for being better than another one.
    """
    p_adjusted = row.get("p_adjusted")
    is_clear = row["ci_low"] > 0 or row["ci_high"] < 0 if p_adjusted is None else p_adjusted < SIGNIFICANT
    if not is_clear:
        return ""
    if row["difference"] <= 0:
        return "below"
    return "" if standing.run_verdict is Verdict.BELOW else "above"


def _line(row: Comparison, anchor: str, standing: _Standing, *, is_second: bool) -> ComparisonLine:
    line = ComparisonLine(
        task_title(row["task"]),
        anchor,
        place_label(row["setting"], row["split"]),
        row["metric"],
        row["flavour"],
        verdict_cell(format_number(row.get("value")), standing.run, standing.run_verdict),
        verdict_cell(format_number(row.get("baseline_value")), standing.baseline, standing.baseline_verdict),
        format_value(standing.floor),
        standing.floor["model"] if standing.floor else "",
        signed(row["difference"]),
        signed_interval(row["ci_low"], row["ci_high"]),
        _verdict(row, standing),
        p_text(row.get("p_value")),
        p_text(row.get("p_adjusted")),
        row["num_samples"],
        is_second,
    )
    if leaves_out_all(standing.run) or leaves_out_all(standing.baseline):
        return replace(line, difference="-", interval="", verdict="", p_value="-", p_adjusted="-")
    return line


def p_text(value: float | None) -> str:
    """Return a p-value with the digits that say something."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def _plots(rows: Sequence[tuple[Comparison, str]], name: str) -> tuple[str, ...]:
    """Return a plot of the differences, each with its verdict, for each setting."""
    plots: list[str] = []
    for setting in dict.fromkeys(row["setting"] for row, _ in rows):
        own = [(row, verdict) for row, verdict in rows if row["setting"] == setting]
        colours = [{"above": "good", "below": "bad"}.get(verdict, "soft") for _, verdict in own]
        points = [Point(row["difference"], row["ci_low"], row["ci_high"]) for row, _ in own]
        labels = [f"{short_title(row['task'])} {row['metric']}" for row, _ in own]
        text = PlotText(setting_title(setting), "difference", "task")
        plots.append(difference_plot(text, labels, points, colours, name=f"difference-{name}-{len(plots)}"))
    return tuple(plots)
