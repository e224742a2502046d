"""Why an answer could not be read: the kinds of failure that a reader of the report can do something about."""

import re
from collections.abc import Collection
from functools import cache

from ecellm.json_text import read_json
from ecellm.tasks.scorer import answer_text

NO_ANSWER = "no answer: the row failed"
EMPTY = "empty answer"
CUT_OFF = "cut off at the length limit"
AMID_TEXT = "names a choice amid other text"
NO_CHOICE = "names none of the choices"
NO_JSON = "text instead of JSON"
BROKEN_JSON = "broken JSON"
CUT_OFF_JSON = "JSON cut off at the length limit"
OTHER_JSON = "JSON of another form than asked for"
OTHER = "other"


def kind_of(response: str, finish_reason: str | None, choices: Collection[str], *, is_json: bool) -> str:
    """Return why the scorer could not read an answer.

    Args:
        response: the answer.
        finish_reason: why it ended, as the predictions say.
        choices: right answers of other samples of the place; empty where answers are open.
        is_json: whether the task's answers are JSON.
    """
    text = answer_text(response)
    if not text:
        return EMPTY
    is_cut_off = finish_reason == "length"
    if is_json:
        return _json_kind(text, is_cut_off=is_cut_off)
    if choices and _choice_pattern(frozenset(choices)).search(text):
        return AMID_TEXT
    if is_cut_off:
        return CUT_OFF
    return NO_CHOICE if choices else OTHER


def _json_kind(text: str, *, is_cut_off: bool) -> str:
    try:
        read_json(text)
    except ValueError:
        if not text.startswith(("[", "{")):
            return NO_JSON
        return CUT_OFF_JSON if is_cut_off else BROKEN_JSON
    return OTHER_JSON


@cache
def _choice_pattern(choices: frozenset[str]) -> re.Pattern[str]:
    """Return a pattern of a choice as a word of its own; a single letter in upper case, a word in any case."""
    parts = [re.escape(text) if len(text) == 1 else f"(?i:{re.escape(text)})" for text in sorted(choices) if text]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b" if parts else r"(?!)")
