"""Metrics of parts of the rows: which categories, references, lengths a run is good or bad at.

    category        product category of the sample, where it is known
    reference       the true answer of tasks with closed answers: yes or no, or the option's letter. Where candidates
                    are listed in random order, it shows whether a model prefers places to products. Read acc (SR:
                    recall@1) here: with one class of references, figures of or over classes say little
    attribute       extraction: the attributes of the labels, each answer's part by itself (strict flavour alone)
    num_candidates  ranking: how many products are ranked
    prompt_tokens   quartiles of the prompts' lengths, "<shortest>-<longest>"; they differ from tokenizer to tokenizer
    was_shortened   whether the input was shortened to fit
    finish_reason   why the answer ended

A slice is given where it has two values or more, of which the most frequent 50 stand by themselves. Intervals come from
at most 1,000 resamples: there are many slices.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.intervals import Bootstrap, metric_intervals
from ecellm.evaluation.metric_rows import Answers, MetricRow, flavour_rows
from ecellm.evaluation.scored import Scored
from ecellm.evaluation.scored_rows import NO_VALUE, Codes, ScoredRows
from ecellm.tasks import Task
from ecellm.tasks.scorer import STRICT

OTHER = "(other)"
_MOST_VALUES = 50
_MOST_RESAMPLES = 1000
_QUARTILES = (0.25, 0.5, 0.75)
_PROMPT_TOKENS = "prompt_tokens"
Places = npt.NDArray[np.int64]


def add_block(rows: ScoredRows, task: Task, answered: Answered, scored: Sequence[Scored]) -> None:
    """Add a block of answers with all that they may be sliced by, and with their parts.

    Args:
        rows: answers of one split.
        task: the task of all rows.
        answered: samples, and what predictions say of each answer.
        scored: the answers in each flavour.
    """
    rows.add(scored, _slices(task, answered, scored))
    for each in scored:
        if each.scorer.part_name is not None:
            # A name from JSON may hold half a character, which no file can.
            parts = [
                (name.encode("utf-8", "replace").decode(), part)
                for row in each.rows
                for name, part in row.parts.items()
            ]
            of_parts = Scored.of(each.scorer, [part for _, part in parts])
            names = {each.scorer.part_name: [name for name, _ in parts]}
            rows.parts.setdefault(each.flavour, ScoredRows()).add([of_parts], names)


def slice_rows(task: Task, rows: ScoredRows, answers: Answers, bootstrap: Bootstrap) -> list[MetricRow]:
    """Return rows of the metrics table for every slice: each value in each flavour with each metric.

    Args:
        task: the task of all rows.
        rows: the answers to one split, added by `add_block`.
        answers: whose they are.
        bootstrap: how intervals are drawn.
    """
    few = bootstrap._replace(num_resamples=min(bootstrap.num_resamples, _MOST_RESAMPLES))
    result: list[MetricRow] = []
    for own in (rows, *rows.parts.values()):
        for name, (codes, values) in own.slices().items():
            if name == _PROMPT_TOKENS:
                codes, values = _binned(codes, values)  # noqa: PLW2901
            groups = grouped(codes, [str(value) for value in values])
            for value, places in groups.items() if len(groups) > 1 else ():
                tallies = own.tallies(places)
                intervals = metric_intervals([each.measured for each in tallies], few, tallies[0].counts)
                for each, of_metrics in zip(tallies, intervals, strict=True):
                    result += flavour_rows(task, each, of_metrics, answers, (name, value))
    return result


def _slices(task: Task, answered: Answered, scored: Sequence[Scored]) -> dict[str, Sequence[str | int | None]]:
    samples, facts = answered.samples, answered.facts
    values: dict[str, Sequence[str | int | None]] = {"category": [sample.get("category") for sample in samples]}
    strict = next(each for each in scored if each.flavour == STRICT)
    if strict.rows and "correct" in strict.rows[0].components:
        values["reference"] = [row.reference for row in strict.rows]
    if task.ranks_choices:
        choices = [task.choices(sample) for sample in samples]
        values["num_candidates"] = [str(len(own)) if own else None for own in choices]
    if "num_prompt_tokens" in facts:
        values[_PROMPT_TOKENS] = facts["num_prompt_tokens"]
    for name in ("was_shortened", "finish_reason"):
        if name in facts:
            values[name] = [_as_text(fact) for fact in facts[name]]
    return values


def _as_text(fact: Any) -> str | None:
    """Return a fact as a slice's value; true and false as SQL and JSON write them."""
    return str(fact).lower() if isinstance(fact, bool) else fact


def _binned(codes: Codes, numbers: Sequence[str | int]) -> tuple[Codes, list[str | int]]:
    """Return quartiles instead of numbers: code of each row, and the codes' values."""
    bins = quartile_bins([None if code == NO_VALUE else int(numbers[code]) for code in codes])
    code_of: dict[str | int, int] = {}
    own = [NO_VALUE if name is None else code_of.setdefault(name, len(code_of)) for name in bins]
    return np.array(own, np.int32), list(code_of)


def quartile_bins(numbers: Sequence[int | None]) -> list[str | None]:
    """Return the quartile of each number as "<lowest>-<highest>"; None for None. Equal numbers share a bin."""
    known = np.array([number for number in numbers if number is not None], dtype=np.int64)
    if not len(known):
        return [None] * len(numbers)
    edges = np.quantile(known, _QUARTILES, method="lower")
    bins = np.searchsorted(edges, known)
    label_of = {place: f"{known[bins == place].min()}-{known[bins == place].max()}" for place in np.unique(bins)}
    labels = iter([label_of[place] for place in bins])
    return [None if number is None else next(labels) for number in numbers]


def grouped(codes: Codes, values: Sequence[str]) -> dict[str, Places]:
    """Return the places of the rows of each value: numbers in order, then texts, then all but the most frequent.

    Args:
        codes: of each row; rows without a value, with `NO_VALUE`, are in no group.
        values: what the codes stand for, all distinct.
    """
    counts = np.bincount(codes[codes != NO_VALUE], minlength=len(values))
    ranked = sorted(range(len(values)), key=lambda code: (-counts[code], values[code]))
    kept = sorted(ranked[:_MOST_VALUES], key=lambda code: reading_order(values[code]))
    places = {values[code]: np.flatnonzero(codes == code) for code in kept}
    if len(ranked) > len(kept):
        places[OTHER] = np.flatnonzero((codes != NO_VALUE) & ~np.isin(codes, kept))
    return places


def reading_order(value: str) -> tuple[bool, int, str]:
    """Return the sort key of a slice's value: numbers and ranges by where they begin, then texts."""
    head = value.split("-", 1)[0]
    is_number = head.isascii() and head.isdigit()
    return not is_number, int(head) if is_number else 0, value
