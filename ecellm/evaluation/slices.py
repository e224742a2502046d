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

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.intervals import Bootstrap, metric_intervals
from ecellm.evaluation.metric_rows import Answers, MetricRow, flavour_rows
from ecellm.evaluation.scored import Scored
from ecellm.tasks import Task
from ecellm.tasks.scorer import STRICT

OTHER = "(other)"
_MOST_VALUES = 50
_MOST_RESAMPLES = 1000
_QUARTILES = (0.25, 0.5, 0.75)


class Sliced(NamedTuple):
    """One slice: its name, the value of each row in order (None = in no part), and what is cut by it."""

    name: str
    values: Sequence[str | None]
    scored: Sequence[Scored]


def slice_rows(
    task: Task, answered: Answered, scored: Sequence[Scored], answers: Answers, bootstrap: Bootstrap
) -> list[MetricRow]:
    """Return rows of the metrics table for every slice: each value in each flavour with each metric.

    Args:
        task: the task of all rows.
        answered: samples of one split, and what predictions say of each answer.
        scored: the answers in each flavour.
        answers: whose they are.
        bootstrap: how intervals are drawn.
    """
    few = bootstrap._replace(num_resamples=min(bootstrap.num_resamples, _MOST_RESAMPLES))
    rows: list[MetricRow] = []
    for sliced in (*_slices(task, answered, scored), *_part_slices(scored)):
        rows += _rows_of(task, sliced, answers, few)
    return rows


def _slices(task: Task, answered: Answered, scored: Sequence[Scored]) -> list[Sliced]:
    samples, facts = answered.samples, answered.facts
    values: dict[str, Sequence[str | None]] = {"category": [sample.get("category") for sample in samples]}
    strict = next(each for each in scored if each.flavour == STRICT)
    if strict.rows and "correct" in strict.rows[0].components:
        values["reference"] = [row.reference for row in strict.rows]
    if task.ranks_choices:
        choices = [task.choices(sample) for sample in samples]
        values["num_candidates"] = [str(len(own)) if own else None for own in choices]
    if "num_prompt_tokens" in facts:
        values["prompt_tokens"] = quartile_bins(facts["num_prompt_tokens"])
    for name in ("was_shortened", "finish_reason"):
        values[name] = [_as_text(fact) for fact in facts.get(name, ())]
    return [Sliced(name, own, scored) for name, own in values.items()]


def _part_slices(scored: Sequence[Scored]) -> list[Sliced]:
    """Return the slice of the answers' parts, whose rows are the parts themselves."""
    slices = []
    for each in scored:
        if each.scorer.part_name is not None:
            # A name from JSON may hold half a character, which no file can.
            parts = [
                (name.encode("utf-8", "replace").decode(), part)
                for row in each.rows
                for name, part in row.parts.items()
            ]
            of_parts = Scored.of(each.scorer, [part for _, part in parts])
            slices.append(Sliced(each.scorer.part_name, [name for name, _ in parts], [of_parts]))
    return slices


def _as_text(fact: Any) -> str | None:
    """Return a fact as a slice's value; true and false as SQL and JSON write them."""
    return str(fact).lower() if isinstance(fact, bool) else fact


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


def _rows_of(task: Task, sliced: Sliced, answers: Answers, bootstrap: Bootstrap) -> list[MetricRow]:
    groups = grouped(sliced.values)
    rows: list[MetricRow] = []
    for name, places in groups.items() if len(groups) > 1 else ():
        parts = [scored.take(places) for scored in sliced.scored]
        intervals = metric_intervals([part.measured for part in parts], bootstrap)
        for part, own in zip(parts, intervals, strict=True):
            rows += flavour_rows(task, part, own, answers, (sliced.name, name))
    return rows


def grouped(values: Sequence[str | None]) -> dict[str, list[int]]:
    """Return the places of the rows of each value: numbers in order, then texts, then all but the most frequent.

    Rows without a value are in no group.
    """
    counts = Counter(value for value in values if value is not None)
    kept = sorted(counts, key=lambda value: (-counts[value], value))[:_MOST_VALUES]
    places: dict[str, list[int]] = {value: [] for value in sorted(kept, key=reading_order)}
    for place, value in enumerate(values):
        if value is not None:
            places.setdefault(value if value in places else OTHER, []).append(place)
    return places


def reading_order(value: str) -> tuple[bool, int, str]:
    """Return the sort key of a slice's value: numbers and ranges by where they begin, then texts."""
    head = value.split("-", 1)[0]
    is_number = head.isascii() and head.isdigit()
    return not is_number, int(head) if is_number else 0, value
