"""The report's page of comparisons between runs as plain values for its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.evaluation.headline import order_of, place_label
from ecellm.evaluation.report.first_page import short_title, signed, task_title
from ecellm.evaluation.report.plots import PlotText, Point, difference_plot
from ecellm.evaluation.report.standings import domain_of
from ecellm.tasks import FLAVOURS

_DOMAIN_TITLES = {"IND": "In domain", "OOD": "Out of domain"}
_SIGNIFICANT = 0.05
Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison in one flavour; `is_second` where the line before is of the same place in another flavour."""

    task: str
    anchor: str
    place: str
    metric: str
    flavour: str
    value: str
    baseline_value: str
    difference: str
    interval: str
    verdict: str
    p_value: str
    p_adjusted: str
    num_samples: int
    is_second: bool


@dataclass(frozen=True)
class ComparisonPair:
    """All comparisons of one run with one baseline."""

    run: str
    run_number: int
    baseline: str
    baseline_number: int
    plots: tuple[str, ...]
    lines: tuple[ComparisonLine, ...]


def comparison_pairs(
    rows: Sequence[Comparison], labels: Mapping[str, str], anchors: Mapping[str, str], flavour: str
) -> list[ComparisonPair]:
    """Return the comparisons by pairs of runs.

    Args:
        rows: the comparisons table.
        labels: short names of the runs by run_id, in the order of the columns.
        anchors: the task's page by task.
        flavour: what is shown first, and what the plots show.
    """
    numbers = {run_id: number for number, run_id in enumerate(labels)}
    pairs: dict[tuple[int, int], list[Comparison]] = {}
    for row in rows:
        pairs.setdefault((numbers[row["run_id"]], numbers[row["baseline_run_id"]]), []).append(row)
    names = list(labels.values())
    result = []
    for (run, baseline), own in sorted(pairs.items()):
        ordered = sorted(own, key=lambda row: (order_of(_place(row)), _flavour_order(row, flavour)))
        lines = []
        for before, row in zip([None, *ordered], ordered, strict=False):
            is_second = before is not None and _place(before) == _place(row)
            lines.append(_line(row, anchors[row["task"]], is_second=is_second))
        shown = [row for row in ordered if row["flavour"] == flavour]
        result.append(
            ComparisonPair(names[run], run, names[baseline], baseline, _plots(shown, f"{run}-{baseline}"), tuple(lines))
        )
    return result


def _place(row: Comparison) -> tuple[str, str, str]:
    return row["task"], row["setting"], row["split"]


def _flavour_order(row: Comparison, shown: str) -> tuple[bool, int]:
    return row["flavour"] != shown, FLAVOURS.index(row["flavour"])


def _verdict(row: Comparison) -> str:
    """Return which run is better, unless chance may have made it so: by the adjusted p, else by the interval."""
    p_adjusted = row.get("p_adjusted")
    is_clear = row["ci_low"] > 0 or row["ci_high"] < 0 if p_adjusted is None else p_adjusted < _SIGNIFICANT
    if not is_clear:
        return ""
    return "above" if row["difference"] > 0 else "below"


def _line(row: Comparison, anchor: str, *, is_second: bool) -> ComparisonLine:
    return ComparisonLine(
        task_title(row["task"]),
        anchor,
        place_label(row["setting"], row["split"]),
        row["metric"],
        row["flavour"],
        _number(row.get("value")),
        _number(row.get("baseline_value")),
        signed(row["difference"]),
        f"[{signed(row['ci_low'])}, {signed(row['ci_high'])}]",
        _verdict(row),
        _p_text(row.get("p_value")),
        _p_text(row.get("p_adjusted")),
        row["num_samples"],
        is_second,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _p_text(value: float | None) -> str:
    """Return a p-value with the digits that say something."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def _plots(rows: Sequence[Comparison], name: str) -> tuple[str, ...]:
    """Return a plot of the differences for each setting."""
    plots: list[str] = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        colours = [{"above": "good", "below": "bad"}.get(_verdict(row), "soft") for row in own]
        points = [Point(row["difference"], row["ci_low"], row["ci_high"]) for row in own]
        labels = [f"{short_title(row['task'])} {row['metric']}" for row in own]
        title = _DOMAIN_TITLES.get(domain_of(setting), "All")
        text = PlotText(f"{title}: {place_label(setting, 'test')}", "difference", "task")
        plots.append(difference_plot(text, labels, points, colours, name=f"difference-{name}-{len(plots)}"))
    return tuple(plots)
