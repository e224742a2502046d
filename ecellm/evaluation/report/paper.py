"""The paper's figures beside those of the best run, as plain values for the template of the first page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ecellm.evaluation.headline import HeadlineRow, Verdict, format_value, place_label
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.published import PublishedModel, reference_models
from ecellm.evaluation.report.first_page import Cell, cell_of, leaves_out_all, signed, task_title
from ecellm.tasks import RELEASED

_TASK_SPECIFIC = "best task-specific"
# Says why a figure of ours must not be compared with the paper's, and what to know if it may: (row) -> reason, remarks.
Comparability = Callable[[MetricRow], tuple[str | None, Sequence[str]]]


@dataclass(frozen=True)
class PaperCell:
    """One figure of the paper.

    Attributes:
        model: which model, where the column holds different ones.
        value: its figure.
        difference: ours minus it; empty where the two must not be compared.
        verdict: `above` where ours is higher, `below` where it is lower, as a CSS class; being higher is nothing to
            praise where ours is no better than a floor.
        is_below_floor: whether the best floor is as good as the paper's figure.
    """

    model: str
    value: str
    difference: str
    verdict: str
    is_below_floor: bool


@dataclass(frozen=True)
class PaperLine:
    """One line of the table of the paper's figures: what ours is compared with, and whether it may be."""

    task: str
    anchor: str
    place: str
    metric: str
    ours: Cell
    floor: str
    cells: tuple[PaperCell | None, ...]
    is_comparable: bool
    notes: tuple[int, ...]


@dataclass(frozen=True)
class PaperTable:
    """The paper's figures beside those of the best run, by the released scorer.

    Attributes:
        columns: models of the paper.
        lines: tasks.
        notes: what the numbers behind the lines stand for.
        num_comparable: lines that may be compared.
    """

    columns: tuple[str, ...]
    lines: tuple[PaperLine, ...]
    notes: tuple[str, ...]
    num_comparable: int


def paper_table(
    rows: Sequence[HeadlineRow], number: int, anchors: Mapping[str, str], comparability: Comparability
) -> PaperTable:
    """Return the paper's figures beside those of run `number`.

    Args:
        rows: the headline table.
        number: the run's column.
        anchors: the task's page by task.
        comparability: tells whether a figure of ours may be compared.
    """
    models = {row.place: reference_models(row.task, row.setting) for row in rows}
    general = [model.label for found in models.values() for model in found if not model.is_task_specific]
    columns = (*dict.fromkeys(general), _TASK_SPECIFIC)
    notes: dict[str, int] = {}
    lines = []
    for row in rows:
        released = row.figures(RELEASED)
        ours, floor, verdict = released.runs[number], released.floor, released.verdicts[number]
        if models[row.place] and ours is not None:
            reason, remarks = comparability(ours)
            numbers = [notes.setdefault(note, len(notes) + 1) for note in ([reason] if reason else remarks)]
            value = ours["value"] if reason is None and not leaves_out_all(ours) else None
            lowest = floor["value"] if floor is not None and reason is None else None
            line = PaperLine(
                task_title(row.task),
                anchors[row.task],
                place_label(row.setting, row.split),
                row.metric,
                cell_of(ours, None, verdict),
                format_value(floor),
                _paper_cells(models[row.place], columns, value, lowest, can_praise=verdict is not Verdict.BELOW),
                reason is None,
                tuple(numbers),
            )
            lines.append(line)
    return PaperTable(columns, tuple(lines), tuple(notes), sum(line.is_comparable for line in lines))


def _paper_cells(
    models: Sequence[PublishedModel],
    columns: Sequence[str],
    ours: float | None,
    floor: float | None,
    *,
    can_praise: bool,
) -> tuple[PaperCell | None, ...]:
    of_column = {_TASK_SPECIFIC if model.is_task_specific else model.label: model for model in models}
    return tuple(
        None if name not in of_column else _paper_cell(of_column[name], ours, floor, can_praise=can_praise)
        for name in columns
    )


def _paper_cell(model: PublishedModel, ours: float | None, floor: float | None, *, can_praise: bool) -> PaperCell:
    difference = None if ours is None else ours - model.value
    verdict = "" if not difference else "above" if difference > 0 else "below"
    return PaperCell(
        model.label if model.is_task_specific else "",
        f"{model.value:.3f}",
        "" if difference is None else signed(difference),
        verdict if can_praise or verdict == "below" else "",
        floor is not None and model.value <= floor,
    )
