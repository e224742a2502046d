"""Scoring as a library: answers and references in plain lists, without Ray, files or models."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ecellm.errors import InputError
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.metric_rows import Answers, metric_rows
from ecellm.evaluation.scored import Similarity, score_answers
from ecellm.evaluation.scored_rows import tallies_of
from ecellm.settings import SETTINGS
from ecellm.tasks import task_named


class Figure(NamedTuple):
    """One metric of a list of answers in one flavour; what each field holds says the metrics table (ecellm/schema.py).

    Attributes:
        flavour: released (the release's scorer, rule by rule) or strict (every row counts).
        metric: its name.
        value: the figure; None with a reason.
        ci_low: lower end of the 95 % percentile bootstrap interval; None if not computed.
        ci_high: upper end.
        num_samples: answers.
        num_invalid: answers (QPR: parts of answers) that the flavour's scorer could not parse.
        reason: why the value is None; None otherwise.
    """

    flavour: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    num_samples: int
    num_invalid: int
    reason: str | None


def score(
    task: str,
    setting: str,
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    options: Sequence[str | None] | None = None,
    inputs: Sequence[str] | None = None,
    relevance: Sequence[Sequence[str] | None] | None = None,
    similarity: Sequence[Mapping[str, float | None] | None] | None = None,
    num_resamples: int = 10_000,
    seed: int = 1,
) -> list[Figure]:
    """Score answers to one task: every metric, with its 95 % interval, first as released and then strictly.

        >>> from ecellm.evaluation import score
        >>> figures = score("Product_Matching", "IND_Diverse_Instruction", ["yes", "no", "?"], ["yes", "yes", "no"])
        >>> {figure.flavour: round(figure.value, 3) for figure in figures if figure.metric == "acc"}
        {'released': 0.5, 'strict': 0.333}

    Args:
        task: one of the ten tasks: its name, an alias or the paper's abbreviation.
        setting: one of the eight settings; extraction is rated by other rules out of domain.
        predictions: what was answered, as the model wrote it.
        references: the true answers, `output` of the samples; lists are of one length.
        options: `options` of the samples, where they have any.
        inputs: `input` of the samples; ranking counts its candidates there where `relevance` is not given.
        relevance: ranking: ESCI labels (E, S, C, I) of the candidates of each sample.
        similarity: generation: figures of each answer by metric (bertscore_f1, bleurt, ...); None where there are none.
        num_resamples: bootstrap resamples; 0 = no intervals.
        seed: of the bootstrap.

    Raises:
        InputError: a `ValueError`: no such task or setting, nothing to score, or lists that do not go together.
    """
    known = task_named(task)
    if setting not in SETTINGS:
        raise InputError(f"unknown setting {setting!r}; the settings are {', '.join(SETTINGS)}")
    if num_resamples < 0:
        raise InputError(f"num_resamples is {num_resamples}; give 0 for no intervals, or more")
    given = {"options": options, "inputs": inputs, "relevance": relevance, "similarity": similarity}
    _check({"predictions": predictions, "references": references}, given)
    samples = [
        {
            "task": known.name,
            "setting": setting,
            "output": reference,
            "input": inputs[place] if inputs is not None else "",
            "options": options[place] if options is not None else None,
            "relevance": relevance[place] if relevance is not None else None,
        }
        for place, reference in enumerate(references)
    ]
    figures = None if similarity is None else Similarity(similarity)
    scored = score_answers(known, samples, predictions, figures)
    answers = Answers("", "", None, "ours", known.name, "test", setting, "")
    rows = metric_rows(known, tallies_of(scored), answers, Bootstrap(num_resamples, seed))
    return [Figure(**{name: row[name] for name in Figure._fields}) for row in rows]


def _check(texts: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[Any] | None]) -> None:
    """Raise `InputError` unless all lists have one length, at least 1, and `texts` hold texts."""
    lengths = {name: len(values) for name, values in {**texts, **columns}.items() if values is not None}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(f"lists of unequal length: {counts}")
    if not lengths["predictions"]:
        raise InputError("there is nothing to score: the lists are empty")
    for name, values in texts.items():
        if isinstance(values, str):
            raise InputError(f"{name} is one text; give a list of texts")
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise InputError(f"{name}[{place}] is {value!r}, not a text")
