"""The table that a reader looks at first: each task's headline metric, run beside run, task-specific models, floors.

Figures are those of the flavour `strict`, which counts every row, with the released scorer's beside them; a metrics
table that has no strict figures is shown by the released ones alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ecellm.evaluation.floors import ROLE as FLOOR_ROLE
from ecellm.evaluation.floors import Place, best_floors, of_flavour, place_of
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.settings import SETTINGS
from ecellm.tasks import RELEASED, STRICT, TASKS

OUR_ROLE = "ours"
SPECIALIST_ROLE = "task_specific"
SPECIALIST_ENGINE = "baseline"  # of the predictions of jobs.baseline
MARK = "*"
MIN_CLEAR_ROWS = 30  # of fewer rows a bootstrap's interval is too narrow to be trusted


def role_of(engine: str | None, *, is_task_specific: bool = False) -> str:
    """Return the role of a run's figures in the metrics table: of jobs.baseline, or named so, it is task-specific."""
    return SPECIALIST_ROLE if is_task_specific or engine == SPECIALIST_ENGINE else OUR_ROLE


class Verdict(StrEnum):
    """How a figure stands to the best floor in the same place."""

    ABOVE = "above"
    UNCLEAR = "unclear"
    BELOW = "below"
    UNKNOWN = "unknown"


def verdict_of(row: MetricRow | None, floor: MetricRow | None) -> Verdict:
    """Return how a figure stands to the floor.

    `above`: the whole interval (without one, the value) lies above it. `below`: the value does not. `unclear`: the
    value does, but the interval reaches down to it, or there are too few rows to say.
    """
    if row is None or row["value"] is None or floor is None or floor["value"] is None:
        return Verdict.UNKNOWN
    if row["value"] <= floor["value"]:
        return Verdict.BELOW
    low = row["value"] if row["ci_low"] is None else row["ci_low"]
    is_clear = low > floor["value"] and row["num_samples"] >= MIN_CLEAR_ROWS
    return Verdict.ABOVE if is_clear else Verdict.UNCLEAR


class Figures(NamedTuple):
    """The figures of one line in one flavour: of each run, of the best floor, and how runs stand to it."""

    runs: tuple[MetricRow | None, ...]
    floor: MetricRow | None
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class HeadlineRow:
    """One line of the table.

    Attributes:
        task: canonical name, or a name of the user's own.
        setting: as in the data.
        split: train, val or test.
        metric: the headline metric.
        flavour: of `runs` and `floor`.
        num_samples: rows of the run that has the most.
        runs: the metrics row of each run; None where a run has no answers.
        floor: the metrics row of the best floor; None if there is none.
        specialist: the metrics row of the best task-specific model that is not among the runs; None without any.
        released_runs: the released flavour's rows beside strict ones; None where `flavour` is released.
        released_floor: the best floor by the released flavour; None where `flavour` is released.
    """

    task: str
    setting: str
    split: str
    metric: str
    flavour: str
    num_samples: int
    runs: tuple[MetricRow | None, ...]
    floor: MetricRow | None
    released_runs: tuple[MetricRow | None, ...]
    released_floor: MetricRow | None
    specialist: MetricRow | None = None
    released_specialist: MetricRow | None = None

    @property
    def place(self) -> Place:
        """What the line is about."""
        return self.task, self.setting, self.split

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """How each run stands to the floor."""
        return self.figures(self.flavour).verdicts

    def figures(self, flavour: str) -> Figures:
        """Return the figures in a flavour: the one that is shown, or the released one, which may be the same."""
        is_beside = flavour == RELEASED != self.flavour
        runs, floor = (self.released_runs, self.released_floor) if is_beside else (self.runs, self.floor)
        return Figures(runs, floor, tuple(verdict_of(run, floor) for run in runs))

    @property
    def is_above_floor(self) -> bool | None:
        """Whether the last run's interval (or, without one, its value) lies above the floor; None if unknown."""
        verdict = self.verdicts[-1]
        return None if verdict is Verdict.UNKNOWN else verdict is Verdict.ABOVE


def shown_flavour(rows: Sequence[MetricRow]) -> str:
    """Return the flavour that is shown first: strict where there is any such row."""
    return STRICT if any(row["flavour"] == STRICT for row in rows) else RELEASED


def headline_rows(rows: Sequence[MetricRow], run_ids: Sequence[str]) -> list[HeadlineRow]:
    """Return the table's lines, in the order of the tasks, then of the settings.

    Args:
        rows: the metrics table; rows of slices are passed over.
        run_ids: the runs in the order of their columns; of a task-specific model that is not among them the best
            figure is shown, task by task.
    """
    flavour = shown_flavour(rows)
    shown, floors = _by_place(rows, flavour)
    beside, released_floors = _by_place(rows, RELEASED) if flavour != RELEASED else ({}, {})
    result = []
    for place in sorted(shown, key=order_of):
        runs = tuple(shown[place].get(run_id) for run_id in run_ids)
        specialist = _best_specialist(shown[place], run_ids)
        known = [row for row in (specialist, *runs) if row is not None]
        if not known:
            continue
        last = known[-1]
        line = HeadlineRow(
            *place,
            metric=last["metric"],
            flavour=flavour,
            num_samples=max(row["num_samples"] for row in known),
            runs=runs,
            floor=floors.get(place),
            released_runs=tuple(beside.get(place, {}).get(run_id) for run_id in run_ids),
            released_floor=released_floors.get(place),
            specialist=specialist,
            released_specialist=beside.get(place, {}).get(specialist["run_id"]) if specialist else None,
        )
        result.append(line)
    return result


def _by_place(
    rows: Sequence[MetricRow], flavour: str
) -> tuple[dict[Place, dict[str, MetricRow]], dict[Place, MetricRow]]:
    """Return the runs' headline rows of a flavour by place and run_id, and the best floors by place."""
    whole = of_flavour(rows, flavour)
    runs: dict[Place, dict[str, MetricRow]] = {}
    for row in whole:
        if row["is_headline"] and row["role"] in {OUR_ROLE, SPECIALIST_ROLE}:
            runs.setdefault(place_of(row), {})[row["run_id"]] = row
    return runs, best_floors(row for row in whole if row["role"] == FLOOR_ROLE)


def _best_specialist(runs: Mapping[str, MetricRow], shown: Sequence[str]) -> MetricRow | None:
    """Return the task-specific run with the highest value that has no column of its own; of equals, the first by id."""
    others = [
        row
        for run_id, row in sorted(runs.items())
        if run_id not in shown and row["role"] == SPECIALIST_ROLE and row["value"] is not None
    ]
    return max(others, key=lambda row: row["value"], default=None)


def order_of(place: Place) -> tuple[int, str, int, str, str]:
    """Return the sort key of the table's lines: by task, then by setting."""
    tasks, settings = [task.name for task in TASKS], list(SETTINGS)
    task, setting, split = place
    task_place = tasks.index(task) if task in tasks else len(tasks)
    return task_place, task, settings.index(setting) if setting in settings else len(settings), setting, split


def setting_label(setting: str) -> str:
    """Return a short name of a setting: `IND diverse`, `OOD 1-shot`."""
    known = SETTINGS.get(setting)
    if known is None:
        return setting
    return f"{known.domain} {'1-shot' if known.num_shots else known.instruction_kind}"


def place_label(setting: str, split: str) -> str:
    """Return a short name of a setting and, unless it is the test, its split."""
    return setting_label(setting) + ("" if split == "test" else f" ({split})")


def format_value(row: MetricRow | None) -> str:
    """Return the value; `-` without answers, `n/a` where there is a reason instead."""
    if row is None:
        return "-"
    return "n/a" if row["value"] is None else f"{row['value']:.3f}"


def format_number(value: float | None) -> str:
    """Return a bare figure; `-` where there is none."""
    return "-" if value is None else f"{value:.3f}"


def format_interval(row: MetricRow | None) -> str:
    """Return `[low, high]`, or nothing."""
    return "" if row is None or row["ci_low"] is None else f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def format_figure(row: MetricRow | None) -> str:
    """Return `value [low, high]`, or what there is of it."""
    return f"{format_value(row)} {format_interval(row)}".rstrip()


def _invalid_note(row: MetricRow | None) -> str:
    return f" ({row['num_invalid']:,} invalid)" if row is not None and row["num_invalid"] else ""


def format_named(row: MetricRow | None) -> str:
    """Return the value and name of a floor, or of a task-specific model."""
    return "-" if row is None else f"{row['value']:.3f} {row['model']}"


def count_line(rows: Sequence[HeadlineRow]) -> str:
    """Return how many of the lines that can be compared lie above the best floor."""
    verdicts = [row.is_above_floor for row in rows if row.is_above_floor is not None]
    num_tasks = len({row.task for row in rows if row.is_above_floor is not None})
    unit = "tasks" if num_tasks == len(verdicts) else "tasks and settings"
    return f"{sum(verdicts)} of {len(verdicts)} {unit} above the best floor"


def summary_lines(rows: Sequence[HeadlineRow], labels: Sequence[str]) -> list[str]:
    """Return the table as aligned text, with a mark where the last run's interval lies above the floor.

    Args:
        rows: the lines.
        labels: the runs' short names, in the order of the columns.
    """
    has_specialists = any(row.specialist is not None for row in rows)
    more = ("best task-specific",) if has_specialists else ()
    table = [("", "task", "setting", "metric", "n", *labels, *more, "best floor")]
    for row in rows:
        mark = MARK if row.is_above_floor else ""
        figures = [format_figure(run) + _invalid_note(run) for run in row.runs]
        setting = place_label(row.setting, row.split)
        figures += [format_named(row.specialist)] if has_specialists else []
        table.append((mark, row.task, setting, row.metric, f"{row.num_samples:,}", *figures, format_named(row.floor)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table]
    reasons = {
        f"{row.task}: {run['reason']}" for row in rows for run in row.runs if run is not None and run["value"] is None
    }
    explained = f"{MARK} = the 95 % interval of {labels[-1]} lies above the best floor; n/a = see the report"
    flavours = {row.flavour for row in rows}
    scored = [f"figures of the flavour {flavour}" for flavour in sorted(flavours)]
    return [*lines, *sorted(reasons), "; ".join([explained, *scored]), count_line(rows)]
