"""The report: one self-contained HTML page, from what `write` has read.

The page needs no network, and a strict content security policy keeps it so: its script and style are allowed by their
hashes and nothing else is. Texts of the data are escaped by the template engine, drawn characters that nobody could see
included; samples lie in blocks that no text can break out of (samples.py).
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ecellm.evaluation.headline import MIN_CLEAR_ROWS, HeadlineRow, setting_label, shown_flavour
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.report.about import About
from ecellm.evaluation.report.answers import Scans
from ecellm.evaluation.report.comparisons import comparison_pairs
from ecellm.evaluation.report.first_page import (
    headline_groups,
    headline_plots,
    metric_title,
    statement_of,
    task_title,
)
from ecellm.evaluation.report.paper import Comparability, paper_table
from ecellm.evaluation.report.runs import Cost, RunInfo
from ecellm.evaluation.report.samples import SampleBlock, pack
from ecellm.evaluation.report.scan import LEAST_ORDER, UNREADABLE_LABEL
from ecellm.evaluation.report.studies import study_views
from ecellm.evaluation.report.tasks import TaskView, task_view
from ecellm.evaluation.report.unreadable import NO_ANSWER
from ecellm.inference.progress import rate_text
from ecellm.loss_curve import LossCurve, draw_loss
from ecellm.svg_plots import NUM_RUN_COLOURS, palette_css
from ecellm.tasks import RELEASED, find_task
from ecellm.visible_text import visible


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Attributes:
        rows: the metrics table.
        lines: its headline table.
        runs: the runs in the order of their columns.
        costs: what answering took.
        comparisons: the comparisons table.
        studies: the studies table.
        made: the runs table, of all runs.
        curves: loss curves.
        scans: what was read of single answers, by (setting, task) and run.
        blocks: packed samples.
        num_answers: all answers, those that the blocks leave out included.
        about: what the evaluation itself was.
        comparability: tells whether a figure may be compared with the paper's.
    """

    rows: Sequence[MetricRow]
    lines: Sequence[HeadlineRow]
    runs: Sequence[RunInfo]
    costs: Sequence[Cost]
    comparisons: Sequence[Mapping[str, Any]]
    studies: Sequence[dict[str, Any]]
    made: Sequence[Mapping[str, Any]]
    curves: Sequence[LossCurve]
    scans: Scans
    blocks: Sequence[SampleBlock]
    num_answers: int
    about: About
    comparability: Comparability


def render(data: ReportData) -> str:
    """Return the page."""
    lines = data.lines
    labels = {run.run_id: run.label for run in data.runs}
    anchors = task_anchors(lines)
    statement = statement_of(lines, list(labels.values()))
    flavour = shown_flavour(data.rows)
    environment = _environment()
    return environment.get_template("page.html").render(
        **_inline_code(environment),
        runs=data.runs,
        num_colours=NUM_RUN_COLOURS,
        has_released=flavour != RELEASED,
        has_intervals=has_intervals(data.rows),
        min_clear_rows=MIN_CLEAR_ROWS,
        statement=statement,
        headline=headline_groups(lines, anchors),
        has_specialists=any(line.specialist is not None for line in lines),
        headline_plots=headline_plots(lines, list(labels.values())),
        paper=paper_table(lines, statement.number, anchors, data.comparability),
        absent=_absent(data.rows),
        tasks=list(_task_views(data, lines, anchors, labels, statement.number)),
        unreadable_label=UNREADABLE_LABEL,
        comparisons=comparison_pairs(
            data.comparisons, lines, labels, anchors, flavour, num_resamples=data.about.num_resamples
        ),
        studies=study_views(data.studies, data.rows, anchors, data.about.num_resamples),
        made=data.made,
        curves=[
            {"plot": draw_loss(curve, name=f"loss-{number}"), "facts": curve.facts()}
            for number, curve in enumerate(data.curves)
        ],
        about=data.about,
        least_order=LEAST_ORDER,
        costs=data.costs,
        num_answers=data.num_answers,
        num_shown=sum(block.num_answers for block in data.blocks),
        blocks=[{"name": _block_name(number), "packed": block.packed} for number, block in enumerate(data.blocks)],
        samples_index=_samples_index(data, statement.number),
    )


def has_intervals(rows: Sequence[MetricRow]) -> bool:
    """Return whether figures have intervals; where there are no figures, nothing is missing."""
    known = [row for row in rows if row["value"] is not None]
    return not known or any(row["ci_low"] is not None for row in known)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ecellm.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["amount"] = _amount
    environment.filters["metric_title"] = metric_title
    return environment


def _visible(value: Any) -> Any:
    """Let no text of the data hide characters; what the template itself calls safe is left as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _amount(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else rate_text(value)


def _inline_code(environment: Environment) -> dict[str, str]:
    """Return style and scripts with the policy that allows just these."""
    assert environment.loader is not None
    source = {
        name: environment.loader.get_source(environment, f"{name}.js")[0] for name in ("early", "page", "samples")
    }
    style = palette_css() + "\n" + environment.get_template("style.css").render(num_colours=NUM_RUN_COLOURS)
    scripts = source["early"], source["page"] + source["samples"]
    for code in (style, *scripts):
        assert not re.search(r"</|<!--", code), "inline code must not look like the end of its element"
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": style, "early_script": scripts[0], "script": scripts[1], "policy": policy}


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def task_anchors(lines: Sequence[HeadlineRow]) -> dict[str, str]:
    """Return the id of each task's section.

    A name of the user's own is numbered, for it may hold anything, and so is another name of a task that is there.
    """
    anchors: dict[str, str] = {}
    for number, task in enumerate(dict.fromkeys(line.task for line in lines)):
        known = find_task(task)
        anchor = f"task-{number}" if known is None else f"task-{known.short_name.lower()}"
        anchors[task] = f"task-{number}" if anchor in anchors.values() else anchor
    return anchors


def _task_views(
    data: ReportData, lines: Sequence[HeadlineRow], anchors: Mapping[str, str], labels: Mapping[str, str], best: int
) -> Iterator[TaskView]:
    for task, anchor in anchors.items():
        own = [line for line in lines if line.task == task]
        rows = [row for row in data.rows if row["task"] == task]
        yield task_view(anchor, own, rows, data.scans, data.comparability, labels=labels, best_run=best)


def _absent(rows: Sequence[MetricRow]) -> list[dict[str, str]]:
    """Return why figures are absent: task, metrics, reason."""
    metrics_of: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["reason"] is not None and row["role"] == "ours" and row["slice_name"] is None:
            metrics_of.setdefault((row["task"], row["reason"]), {})[row["metric"]] = None
    return [
        {"task": task_title(task), "metrics": ", ".join(map(metric_title, metrics)), "reason": reason}
        for (task, reason), metrics in metrics_of.items()
    ]


def _block_name(number: int) -> str:
    return f"samples-{number}"


def _samples_index(data: ReportData, main_run: int) -> str:
    places = [
        {
            "task": block.task,
            "taskTitle": task_title(block.task),
            "setting": block.setting,
            "settingTitle": setting_label(block.setting),
            "block": _block_name(number),
        }
        for number, block in enumerate(data.blocks)
    ]
    failures = {failure.kind for by_run in data.scans.values() for scan in by_run.values() for failure in scan.failures}
    failures.discard(NO_ANSWER)
    runs = [{"label": run.label} for run in data.runs]
    return pack({"runs": runs, "main": main_run, "places": places, "failures": sorted(failures)})
