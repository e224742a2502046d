"""What single answers add up to, as plain values for the template of a task's page: confusion, failures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ecellm.evaluation.answered import PredictionPlace
from ecellm.evaluation.headline import setting_label
from ecellm.evaluation.report.scan import UNREADABLE_LABEL, Confusion, RunScan, confusion_of
from ecellm.evaluation.report.unreadable import NO_ANSWER

_MOST_EXAMPLE_CHARACTERS = 240
_HEAT_STEPS = 10
Scans = Mapping[PredictionPlace, Mapping[int, RunScan]]


@dataclass(frozen=True)
class HeatCell:
    """A number of answers; `heat` is its share of the line in tenths."""

    count: int
    heat: int
    is_right: bool


@dataclass(frozen=True)
class ConfusionView:
    """References by answers of one run in one place; `is_main` for the settings of the paper's own figures."""

    title: str
    is_main: bool
    answers: tuple[str, ...]
    lines: tuple[tuple[str, tuple[HeatCell, ...]], ...]


@dataclass(frozen=True)
class FailureLine:
    """Answers of one run in one place that could not be read for one reason; `query` shows them among the samples.

    It is empty for rows that failed: they have no answer to be shown.
    """

    place: str
    label: str
    number: int
    kind: str
    num_answers: int
    share: str
    examples: tuple[str, ...]
    query: Mapping[str, str]


def confusion_views(scans: Scans, labels: Sequence[str], main: Collection[str]) -> list[ConfusionView]:
    """Return a table for each place and run with closed answers.

    Args:
        scans: what each run answered, by (setting, task) and run.
        labels: short names of the runs.
        main: the settings that are shown first.
    """
    views = []
    for (setting, _), by_run in scans.items():
        for run, scan in by_run.items():
            confusion = confusion_of(scan)
            if confusion is not None:
                title = f"{labels[run]}, {setting_label(setting)}"
                views.append(_confusion_view(title, confusion, is_main=setting in main))
    return views


def _confusion_view(title: str, confusion: Confusion, *, is_main: bool) -> ConfusionView:
    lines = []
    for reference, counts in zip(confusion.references, confusion.counts, strict=True):
        total = max(sum(counts), 1)
        cells = tuple(
            HeatCell(count, round(_HEAT_STEPS * count / total), answer == reference != UNREADABLE_LABEL)
            for answer, count in zip(confusion.answers, counts, strict=True)
        )
        lines.append((reference, cells))
    return ConfusionView(title, is_main, confusion.answers, tuple(lines))


def failure_lines(scans: Scans, labels: Sequence[str]) -> list[FailureLine]:
    """Return what could not be read, by place, run and reason."""
    lines = []
    for (setting, task), by_run in scans.items():
        for run, scan in by_run.items():
            query = {"task": task, "setting": setting, "run": str(run)}
            for failure in scan.failures:
                line = FailureLine(
                    setting_label(setting),
                    labels[run],
                    run,
                    failure.kind,
                    failure.num_answers,
                    f"{failure.num_answers / scan.num_answers:.1%}",
                    tuple(_example(text) for text in failure.examples if text),
                    {} if failure.kind == NO_ANSWER else query | {"verdict": f"{UNREADABLE_LABEL}: {failure.kind}"},
                )
                lines.append(line)
    return lines


def _example(text: str) -> str:
    if len(text) <= _MOST_EXAMPLE_CHARACTERS:
        return text
    return f"{text[:_MOST_EXAMPLE_CHARACTERS]}… ({len(text):,} characters)"
