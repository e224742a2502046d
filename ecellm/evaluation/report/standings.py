"""What the headline table says in a few words: which tasks a run masters, which run is best, how far OOD falls off.

Only the paper's own settings count, where they are there: IND and OOD with diverse instructions. A mean of headline
metrics mixes accuracies with F1s and NDCGs: it ranks runs over the same places and means nothing by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ecellm.evaluation.headline import HeadlineRow, Verdict
from ecellm.settings import PAPER_TRAINING_SETTING, SETTINGS

DOMAINS = ("IND", "OOD")
_OTHER = "other"


@dataclass(frozen=True)
class Count:
    """How many tasks of a domain a run stands above the floor in, of those that can be compared."""

    domain: str
    num_above: int
    num_compared: int


@dataclass(frozen=True)
class Standing:
    """How one run does.

    Attributes:
        number: the run's column.
        counts: for each domain with tasks that can be compared.
        not_above: the lines in which it is below the floor, or not clearly above.
        mean: of the headline metrics over the lines in which every run has a figure of as many rows as the others;
            None without such lines.
        num_lines: how many lines these are.
        num_left_out: how many others have a figure of some run.
        has_figures: whether it has any; a run without them ranks nowhere, and does not keep others from it.
        ind: mean over the tasks that have a figure both in and out of domain; None without such tasks.
        ood: the same out of domain.
        num_pairs: how many tasks these are.
    """

    number: int
    counts: tuple[Count, ...]
    not_above: tuple[HeadlineRow, ...]
    mean: float | None
    num_lines: int
    num_left_out: int
    has_figures: bool
    ind: float | None
    ood: float | None
    num_pairs: int

    @property
    def gap(self) -> float | None:
        """How much lower the figures are out of domain; None if unknown."""
        return None if self.ind is None or self.ood is None else self.ind - self.ood

    @property
    def num_above(self) -> int:
        """Of all domains."""
        return sum(count.num_above for count in self.counts)

    @property
    def num_compared(self) -> int:
        """Of all domains."""
        return sum(count.num_compared for count in self.counts)


def domain_of(setting: str) -> str:
    """Return IND, OOD, or `other` for a setting of the user's own that names neither."""
    known = SETTINGS.get(setting)
    if known is not None:
        return known.domain
    return next((domain for domain in DOMAINS if setting.startswith(domain)), _OTHER)


def main_rows(rows: Sequence[HeadlineRow]) -> list[HeadlineRow]:
    """Return the lines of the main setting of each domain: diverse instructions, else the first that is there."""
    main: dict[str, str] = {}
    preferred = [PAPER_TRAINING_SETTING, PAPER_TRAINING_SETTING.replace("IND", "OOD"), *SETTINGS]
    there = list(dict.fromkeys(row.setting for row in rows))
    for setting in sorted(there, key=lambda name: preferred.index(name) if name in preferred else len(preferred)):
        main.setdefault(domain_of(setting), setting)
    return [row for row in rows if row.setting in main.values()]


def standings(rows: Sequence[HeadlineRow], num_runs: int) -> list[Standing]:
    """Return how each run does, in the order of the columns.

    Args:
        rows: the headline table.
        num_runs: its number of runs.
    """
    main = main_rows(rows)
    ranked = [number for number in range(num_runs) if any(_value(row, number) is not None for row in main)]
    common = [row for row in main if _is_common(row, ranked)]
    num_known = sum(any(_value(row, number) is not None for number in ranked) for row in main)
    return [_standing(main, common, number, num_left_out=num_known - len(common)) for number in range(num_runs)]


def _is_common(row: HeadlineRow, ranked: Sequence[int]) -> bool:
    """Return whether these runs all have a figure of the same number of rows: other lines rank nothing."""
    runs = [row.runs[number] for number in ranked]
    known = [run for run in runs if run is not None and run["value"] is not None]
    return len(known) == len(runs) and len({run["num_samples"] for run in known}) == 1


def best_standing(found: Sequence[Standing]) -> Standing:
    """Return the run with the highest mean over the lines in common; of equals, and without such lines, the last."""

    def key(standing: Standing) -> tuple[float, bool, int]:
        return -1.0 if standing.mean is None else standing.mean, standing.has_figures, standing.number

    return max(found, key=key)


def _standing(
    main: Sequence[HeadlineRow], common: Sequence[HeadlineRow], number: int, *, num_left_out: int
) -> Standing:
    verdicts = [(row, row.verdicts[number]) for row in main]
    compared = [(row, verdict) for row, verdict in verdicts if verdict is not Verdict.UNKNOWN]
    counts = []
    for domain in (*DOMAINS, _OTHER):
        own = [verdict for row, verdict in compared if domain_of(row.setting) == domain]
        if own:
            counts.append(Count(domain, own.count(Verdict.ABOVE), len(own)))
    values = [value for row in common if (value := _value(row, number)) is not None]
    pairs = _pairs(main, number)
    return Standing(
        number,
        tuple(counts),
        tuple(row for row, verdict in compared if verdict is not Verdict.ABOVE),
        fmean(values) if values else None,
        len(values),
        num_left_out,
        any(_value(row, number) is not None for row in main),
        fmean(ind for ind, _ in pairs) if pairs else None,
        fmean(ood for _, ood in pairs) if pairs else None,
        len(pairs),
    )


def _value(row: HeadlineRow, number: int) -> float | None:
    run = row.runs[number]
    return None if run is None else run["value"]


def _pairs(main: Sequence[HeadlineRow], number: int) -> list[tuple[float, float]]:
    """Return the figure in domain and out of domain of each task and split that has both."""
    by_domain: dict[str, dict[tuple[str, str], float]] = {domain: {} for domain in DOMAINS}
    for row in main:
        value, domain = _value(row, number), domain_of(row.setting)
        if value is not None and domain in by_domain:
            by_domain[domain][row.task, row.split] = value
    ind, ood = (by_domain[domain] for domain in DOMAINS)
    return [(ind[key], ood[key]) for key in ind if key in ood]
