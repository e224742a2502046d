"""The table that a reader looks at first: each task's headline metric, run beside run, with the trivial baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from ecellm.evaluation.floors import ROLE, Place, best_floors, place_of
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.settings import SETTINGS
from ecellm.tasks import TASKS

MARK = "*"


@dataclass(frozen=True)
class HeadlineRow:
    """One line of the table.

    Attributes:
        task: canonical name, or a name of the user's own.
        setting: as in the data.
        split: train, val or test.
        metric: the headline metric.
        num_samples: rows that the last run answered.
        runs: the metrics row of each run; None where a run has no answers.
        floor: the metrics row of the best trivial baseline; None if there is none.
    """

    task: str
    setting: str
    split: str
    metric: str
    num_samples: int
    runs: tuple[MetricRow | None, ...]
    floor: MetricRow | None

    @property
    def is_above_floor(self) -> bool | None:
        """Whether the last run's interval (or, without one, its value) lies above the floor; None if unknown."""
        last = self.runs[-1]
        if last is None or last["value"] is None or self.floor is None:
            return None
        low = last["value"] if last["ci_low"] is None else last["ci_low"]
        return bool(low > self.floor["value"])


def headline_rows(rows: Sequence[MetricRow], run_ids: Sequence[str]) -> list[HeadlineRow]:
    """Return the table's lines, in the order of the tasks, then of the settings.

    Args:
        rows: the metrics table.
        run_ids: the runs in the order of their columns.
    """
    floors = best_floors(rows)
    by_place: dict[Place, dict[str, MetricRow]] = {}
    for row in rows:
        if row["is_headline"] and row["role"] != ROLE:
            by_place.setdefault(place_of(row), {})[row["run_id"]] = row
    result = []
    for place in sorted(by_place, key=order_of):
        runs = tuple(by_place[place].get(run_id) for run_id in run_ids)
        shown = next(row for row in reversed(runs) if row is not None)
        task, setting, split = place
        line = HeadlineRow(task, setting, split, shown["metric"], shown["num_samples"], runs, floors.get(place))
        result.append(line)
    return result


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


def format_value(row: MetricRow | None) -> str:
    """Return the value; `-` without answers, `n/a` where there is a reason instead."""
    if row is None:
        return "-"
    return "n/a" if row["value"] is None else f"{row['value']:.3f}"


def format_interval(row: MetricRow | None) -> str:
    """Return `[low, high]`, or nothing."""
    return "" if row is None or row["ci_low"] is None else f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def format_figure(row: MetricRow | None) -> str:
    """Return `value [low, high]`, or what there is of it."""
    return f"{format_value(row)} {format_interval(row)}".rstrip()


def _invalid_note(row: MetricRow | None) -> str:
    return f" ({row['num_invalid']:,} invalid)" if row is not None and row["num_invalid"] else ""


def format_floor(row: MetricRow | None) -> str:
    """Return the floor's value and name."""
    return "-" if row is None else f"{row['value']:.3f} {row['model']}"


def count_line(rows: Sequence[HeadlineRow]) -> str:
    """Return how many of the lines that can be compared lie above the trivial baseline."""
    verdicts = [row.is_above_floor for row in rows if row.is_above_floor is not None]
    num_tasks = len({row.task for row in rows if row.is_above_floor is not None})
    unit = "tasks" if num_tasks == len(verdicts) else "tasks and settings"
    return f"{sum(verdicts)} of {len(verdicts)} {unit} above the trivial baseline"


def summary_lines(rows: Sequence[HeadlineRow], labels: Sequence[str]) -> list[str]:
    """Return the table as aligned text, with a mark where the last run's interval lies above the floor.

    Args:
        rows: the lines.
        labels: the runs' short names, in the order of the columns.
    """
    table = [("", "task", "setting", "metric", "n", *labels, "best trivial answer")]
    for row in rows:
        mark = MARK if row.is_above_floor else ""
        figures = [format_figure(run) + _invalid_note(run) for run in row.runs]
        setting = setting_label(row.setting) + ("" if row.split == "test" else f" ({row.split})")
        table.append((mark, row.task, setting, row.metric, f"{row.num_samples:,}", *figures, format_floor(row.floor)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table]
    reasons = {
        f"{row.task}: {run['reason']}" for row in rows for run in row.runs if run is not None and run["value"] is None
    }
    explained = f"{MARK} = the 95 % interval of {labels[-1]} lies above the best trivial answer; n/a = see the report"
    return [*lines, *sorted(reasons), explained, count_line(rows)]
