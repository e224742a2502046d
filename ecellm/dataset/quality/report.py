"""The quality report: one long table of what was found, from the results of the build's steps.

A row is a check of a task (and split): what it is (`check`), of what (`detail`), the figure (`value`), and, where it
is a count, its share of what was looked at (`share`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecellm.dataset.builders.plan import Built
from ecellm.dataset.selection import Selected, SplitKey

Row = dict[str, Any]
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

EXAMPLES = "examples"
LEFT_OUT = "left out"
QUARANTINED = "line that cannot be read"
REPEATED = "exact duplicate within the split"
SHARED = "exact duplicate in another split"
NEAR_WITHIN = "near duplicate within the split"
NEAR_TRAIN = "near duplicate in train"
LEAK = "train row whose input is in a test split"
SHARED_IDS = "shared with train"
IN_BOTH_DOMAINS = "in both domains"
KEPT = "kept by the recipe"
UNSEEN = "held-out instruction in train"
ANSWER = "answer"
LENGTH = "characters"
DROPPED_LEAK = "train row removed as a leak"


@dataclass(frozen=True)
class Findings:
    """Results of the steps that looked at the selected examples.

    Attributes:
        chosen: the selected examples by split, before leaks are removed.
        built: what each flow built, by the names of its tasks, joined by commas.
        matches: results of `match_keys`.
        written: results of `write_part`.
        near: results of `find_near_duplicates`.
        ids: results of `match_ids`.
        dropped_leaks: train rows removed, by split number.
    """

    chosen: Mapping[SplitKey, Selected]
    built: Mapping[str, Built]
    matches: Sequence[Mapping[str, Any]]
    written: Sequence[Mapping[str, Any]]
    near: Sequence[Mapping[str, Any]]
    ids: Sequence[Mapping[str, Any]]
    dropped_leaks: Mapping[int, int]

    @property
    def keys(self) -> list[SplitKey]:
        """The splits by number."""
        return list(self.chosen)

    def num_kept(self, number: int) -> int:
        """Return the rows of a split that are written."""
        return self.chosen[self.keys[number]].num_rows - self.dropped_leaks.get(number, 0)


def num_leaks(chosen: Mapping[SplitKey, Selected], matches: Sequence[Mapping[str, Any]]) -> dict[SplitKey, int]:
    """Return the train rows whose input is in a test split, by train split; only splits that have some."""
    keys = list(chosen)
    counts: Counter[SplitKey] = Counter()
    for result in matches:
        counts.update({keys[int(number)]: rows for number, rows in result["num_leaks"].items()})
    return {key: rows for key, rows in counts.items() if rows}


def quality_rows(findings: Findings) -> list[Row]:
    """Return the report's rows, in a fixed order."""
    makers = (_counts, _left_out, _duplicates, _near_duplicates, _leaks, _domains, _shared_ids, _answers, _lengths)
    return [row for maker in makers for row in maker(findings)]


def _row(key: SplitKey | None, task: str, check: str, *, detail: str, value: float, total: float | None = None) -> Row:
    return {
        "task": task,
        "domain": key.domain if key else None,
        "split": key.split if key else None,
        "check": check,
        "detail": detail,
        "value": float(value),
        "share": value / total if total else None,
    }


def _of(key: SplitKey, check: str, detail: str, value: float, total: float | None = None) -> Row:
    return _row(key, key.task, check, detail=detail, value=value, total=total)


def describe(key: SplitKey) -> str:
    """Return a split's name as the report has it: "OOD test"."""
    return f"{key.domain} {key.split}"


def _counts(findings: Findings) -> Iterator[Row]:
    for number, (key, selected) in enumerate(findings.chosen.items()):
        yield _of(key, EXAMPLES, "", findings.num_kept(number))
        if number in findings.dropped_leaks:
            yield _of(key, DROPPED_LEAK, "", findings.dropped_leaks[number], selected.num_rows)


def _left_out(findings: Findings) -> Iterator[Row]:
    for task, built in sorted(findings.built.items()):
        for reason, rows in sorted(built.dropped.items()):
            yield _row(None, task, LEFT_OUT, detail=reason, value=rows)
        for reason, rows in sorted(built.kept.items()):
            yield _row(None, task, KEPT, detail=reason, value=rows)
    readers: dict[tuple[str, int], list[str]] = {}
    for task, built in sorted(findings.built.items()):
        for line in built.quarantined.items():
            readers.setdefault(line, []).append(task)
    for (file, rows), tasks in sorted(readers.items()):  # a file that two flows read is told of once
        yield _row(None, ", ".join(tasks), QUARANTINED, detail=file, value=rows)


def _duplicates(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    repeats: Counter[int] = Counter()
    shared: Counter[tuple[int, int]] = Counter()
    for result in findings.matches:
        repeats.update({int(number): rows for number, rows in result["repeats"].items()})
        shared.update({(own, other): rows for own, other, rows in result["shared"]})
    for number, key in enumerate(keys):
        yield _of(key, REPEATED, "", repeats[number], findings.num_kept(number))
    for (own, other), rows in sorted(shared.items()):
        yield _of(keys[own], SHARED, describe(keys[other]), rows, findings.num_kept(own))


def _near_duplicates(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    for result in findings.near:
        for check, name in ((NEAR_WITHIN, "within"), (NEAR_TRAIN, "in_train")):
            for number, (rows, total) in sorted(result[name].items(), key=lambda item: int(item[0])):
                yield _of(keys[int(number)], check, f"of the first {total:,} rows", rows, total)


def _leaks(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    leaks: Counter[tuple[int, int]] = Counter()
    for result in findings.matches:
        leaks.update({(own, other): rows for own, other, rows in result["leaks"]})
    for own, key in enumerate(keys):
        if key.split == "train":
            for other, other_key in enumerate(keys):
                if (other_key.task, other_key.split) == (key.task, "test"):
                    rows = leaks[own, other]
                    yield _of(key, LEAK, describe(other_key), rows, findings.chosen[key].num_rows)
            written = [result for result in findings.written if result["split_number"] == own]
            yield _of(key, UNSEEN, "", sum(result["num_unseen_in_train"] for result in written))


def _domains(findings: Findings) -> Iterator[Row]:
    """Compare what rows of the two domains are of: categories, or attributes."""
    groups: dict[SplitKey, set[str]] = {}
    for result in findings.written:
        groups.setdefault(findings.keys[result["split_number"]], set()).update(result["groups"])
    for key, own in groups.items():
        if key.domain == "OOD":
            in_domain = [theirs for other, theirs in groups.items() if (other.task, other.domain) == (key.task, "IND")]
            common = own & set().union(*in_domain)
            yield _of(key, IN_BOTH_DOMAINS, ", ".join(sorted(common)), len(common), len(own))


def _shared_ids(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    shared: Counter[tuple[int, str]] = Counter()
    totals: Counter[tuple[int, str]] = Counter()
    for result in findings.ids:
        for _, test, kind, count in result["shared"]:
            shared[test, kind] += count
        for test, kind, count in result["totals"]:
            totals[test, kind] += count
    for (number, kind), total in sorted(totals.items()):
        yield _of(keys[number], SHARED_IDS, kind, shared[number, kind], total)


def _answers(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    answers: dict[int, Counter[str]] = {}
    for result in findings.written:
        answers.setdefault(result["split_number"], Counter()).update(result["answers"])
    for number, counts in sorted(answers.items()):
        for answer, rows in sorted(counts.items()):
            yield _of(keys[number], ANSWER, answer, rows, sum(counts.values()))


def _lengths(findings: Findings) -> Iterator[Row]:
    keys = findings.keys
    lengths: dict[int, Counter[int]] = {}
    for result in findings.written:
        own = {int(value): rows for value, rows in result["lengths"].items()}
        if own:
            lengths.setdefault(result["split_number"], Counter()).update(own)
    for number, counts in sorted(lengths.items()):
        values = sorted(counts)
        reached = np.cumsum([counts[value] for value in values])
        for name, quantile in _QUANTILES.items():
            place = int(np.searchsorted(reached, quantile * reached[-1]))
            yield _of(keys[number], LENGTH, name, values[min(place, len(values) - 1)])
