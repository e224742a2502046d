"""Reads scores and answers of one (setting, task) at a time, for what the report says of single answers.

Out: for each answer how right it is, as few bytes as possible; counts of references by answers (tasks with closed
answers); what could not be read, by kind, with examples. Texts are not kept, except those of the few examples.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple

import pyarrow as pa

from ecellm.contract import conform
from ecellm.evaluation.report.runs import PlaceFiles
from ecellm.evaluation.report.unreadable import NO_ANSWER, kind_of
from ecellm.evaluation.report.verdicts import Judged, Judgement, Verdicts
from ecellm.evaluation.scored_rows import keys_of
from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage

_SCORE_COLUMNS = ("sample_id", "flavour", "parsed", "is_valid", "reference", "component", "value")
_BATCH_ROWS = 4096
_NEARLY_ONE = 1 - 1e-5  # the released NDCG of a perfect order is a little below 1
LEAST_ORDER = 0.05  # of a ranking's NDCG: below it nothing that matters stands near the top
_MOST_LABELS = 24
_MOST_EXAMPLES = 3
_OTHER = "(other)"
UNREADABLE_LABEL = "unreadable"
# The figure of a free answer that stands for how good it is, best known first.
_FREE_TEXT_FIGURES = ("bertscore_f1", "bleurt", "rouge_l")


class ScoreGroup(NamedTuple):
    """The rows of the scores table about one answer in one flavour."""

    sample_id: str
    flavour: str
    parsed: str | None
    is_valid: bool
    reference: str | None
    values: Mapping[str, float | None]


def judge(group: ScoreGroup) -> Judged:
    """Return how right an answer is, from the figures that its task has."""
    values = group.values
    if not group.is_valid:
        return Judged(Judgement.UNREADABLE, -1.0)
    if "correct" in values:
        is_right = values["correct"] == 1
        return Judged(Judgement.RIGHT if is_right else Judgement.WRONG, float(is_right))
    if "num_gold" in values:
        return _judge_share(*(values.get(name) or 0.0 for name in ("hits", "num_predicted", "num_gold")))
    if values.get("ndcg") is not None:
        return _judge_order(float(values["ndcg"] or 0.0))
    score = next((value for name in _FREE_TEXT_FIGURES if (value := values.get(name)) is not None), 0.0)
    return Judged(Judgement.UNJUDGED, float(score))


def _judge_order(ndcg: float) -> Judged:
    """Judge a ranking."""
    if ndcg >= _NEARLY_ONE:
        return Judged(Judgement.RIGHT, ndcg)
    return Judged(Judgement.PARTLY if ndcg >= LEAST_ORDER else Judgement.WRONG, ndcg)


def _judge_share(hits: float, num_predicted: float, num_gold: float) -> Judged:
    """Judge an extraction by its F1."""
    total = num_predicted + num_gold
    score = min(2 * hits / total, 1.0) if total else 1.0
    if score == 1:
        return Judged(Judgement.RIGHT, score)
    return Judged(Judgement.PARTLY if hits else Judgement.WRONG, score)


def read_score_groups(storage: Storage, files: Sequence[str]) -> Iterator[ScoreGroup]:
    """Yield the rows of the scores table answer by answer; a batch of rows is in memory at a time."""
    rows = (row for path in files for row in _rows(storage, path, _SCORE_COLUMNS))
    for (sample_id, flavour), group in groupby(rows, key=lambda row: (row["sample_id"], row["flavour"])):
        first = next(group)
        values = {row["component"]: row["value"] for row in (first, *group)}
        yield ScoreGroup(sample_id, flavour, first["parsed"], bool(first["is_valid"]), first["reference"], values)


def _rows(
    storage: Storage, path: str, columns: Sequence[str], contract: pa.Schema | None = None
) -> Iterator[dict[str, Any]]:
    """Yield rows of a Parquet file; columns that it lacks are None, and what others wrote must keep the contract."""
    with storage.parquet_file(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        lacking = dict.fromkeys(name for name in columns if name not in there)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=there):
            table = pa.Table.from_batches([batch])
            table = table if contract is None else conform(table, contract, path, ())
            yield from (row | lacking for row in table.to_pylist())


@dataclass(frozen=True)
class Failure:
    """Answers that could not be read for one reason: how many, and some of them."""

    kind: str
    num_answers: int
    examples: tuple[str, ...]


@dataclass
class RunScan:
    """What the report says of one run's answers to one (setting, task).

    Attributes:
        verdicts: of each answer, in the flavour that is shown; why it could not be read.
        num_answers: all answers, those of rows that failed included: they are scored as empty ones.
        confusion: counts by (reference, answer); the answer is None where it could not be read. Empty where answers
            are open.
        failures: what could not be read, most frequent first.
    """

    verdicts: Verdicts = field(default_factory=Verdicts)
    num_answers: int = 0
    confusion: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    failures: tuple[Failure, ...] = ()

    def forget_answers(self) -> None:
        """Drop what is kept for each answer; counts and failures stay."""
        self.verdicts = Verdicts()


def scan_run(storage: Storage, place: PlaceFiles, run: int, flavour: str) -> RunScan:
    """Read what one run has answered to one (setting, task).

    Args:
        storage: access to the files.
        place: the files.
        run: number of the run.
        flavour: which scores count.
    """
    scan = RunScan()
    is_json = False
    for group in read_score_groups(storage, place.scores.get(run, ())):
        if group.flavour != flavour:
            continue
        scan.verdicts.add(group.sample_id, judge(group))
        is_json = is_json or "num_gold" in group.values
        if "correct" in group.values:
            scan.confusion[group.reference or "", group.parsed if group.is_valid else None] += 1
    choices = [label for label, _ in Counter(reference for reference, _ in scan.confusion).most_common(_MOST_LABELS)]
    kinds: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for row, at in _with_places(scan.verdicts, read_answers(storage, place.predictions[run])):
        scan.num_answers += 1
        if scan.verdicts.judged(at).judgement is Judgement.UNREADABLE:
            kind = kind_of(row["response"] or "", row["finish_reason"], choices, is_json=is_json)
            kinds[kind] += 1
            scan.verdicts.explain(at, kind)
            if len(own := examples.setdefault(kind, [])) < _MOST_EXAMPLES and row["response"] not in own:
                own.append(row["response"] or "")
    scan.num_answers = max(scan.num_answers, len(scan.verdicts))
    kinds[NO_ANSWER] = scan.verdicts.counts()[Judgement.UNREADABLE] - scan.verdicts.num_explained()
    scan.failures = tuple(
        Failure(kind, number, tuple(examples.get(kind, ()))) for kind, number in kinds.most_common() if number
    )
    return scan


def _with_places(verdicts: Verdicts, answers: Iterator[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield answers with the places of their verdicts, looked up many at a time."""
    while block := list(islice(answers, _BATCH_ROWS)):
        places = verdicts.places(keys_of([row["sample_id"] for row in block]))
        yield from zip(block, places.tolist(), strict=True)


_ANSWER_COLUMNS = (
    "sample_id",
    "split",
    "row_index",
    "response",
    "finish_reason",
    "was_shortened",
    "num_prompt_tokens",
    "num_completion_tokens",
)


def read_answers(storage: Storage, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of the predictions, a batch of them in memory at a time; columns that they lack are None."""
    for path in files:
        yield from _rows(storage, path, _ANSWER_COLUMNS, PREDICTIONS)


@dataclass(frozen=True)
class Confusion:
    """References by answers.

    Attributes:
        references: labels of the lines.
        answers: labels of the columns.
        counts: a line for each reference.
    """

    references: tuple[str, ...]
    answers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def confusion_of(scan: RunScan) -> Confusion | None:
    """Return the table of a run's answers by references; None where answers are open.

    Labels are sorted, what could not be read comes last; of very many labels the rare ones are counted together.
    """
    if not scan.confusion:
        return None
    totals: Counter[str] = Counter()
    for (reference, answer), number in scan.confusion.items():
        totals[reference] += number
        totals[answer or reference] += number
    kept = {label for label, _ in totals.most_common(_MOST_LABELS)}
    counts: Counter[tuple[str, str]] = Counter()
    for (reference, answer), number in scan.confusion.items():
        line = reference if reference in kept else _OTHER
        column = UNREADABLE_LABEL if answer is None else answer if answer in kept else _OTHER
        counts[line, column] += number
    references = _sorted_labels({line for line, _ in counts})
    answers = _sorted_labels({column for _, column in counts} | set(references))
    table = tuple(tuple(counts[line, column] for column in answers) for line in references)
    return Confusion(tuple(references), tuple(answers), table)


def _sorted_labels(labels: set[str]) -> list[str]:
    """Sort labels; yes stands before no, and what stands for several labels, or none, last."""
    last = {_OTHER: 1, UNREADABLE_LABEL: 2}
    return sorted(labels, key=lambda label: (last.get(label, 0), label.lower() != "yes", label))
