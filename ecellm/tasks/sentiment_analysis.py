"""Sentiment Analysis: how positive is a product review, on five levels?"""

from ecellm.tasks.example import Example
from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.wire_options import option_list, options_text

FIRST_LINES = 200_000
_FEWEST_WORDS = 10
_MOST_STARS = 5

TASK = LetterTask(
    name="Sentiment_Analysis",
    short_name="SA",
    description="How positive is a product review? (A: very positive to E: very negative)",
    headline_metric="f1",
    answers_with_letter=False,
    max_answer_tokens=48,
)


def reason_to_leave_out(text: str | None, stars: float | None) -> str | None:
    """Return why a review gives no example, or None: it needs a text of ten words (at single spaces) and stars."""
    if not text:
        return "without text"
    if stars is None:
        return "without stars"
    if stars not in range(1, _MOST_STARS + 1):
        return "stars that are not 1 to 5"
    return "under ten words" if len(text.split(" ")) < _FEWEST_WORDS else None


def make_example(text: str, stars: float, source_ids: tuple[str, ...]) -> Example:
    """Return the example of a review: the bare text; 5 stars are option A, 1 star is option E.

    Source: ecinstruct's construction rules for SA.
    """
    answer = option_list("SA")[_MOST_STARS - int(stars)]
    return Example(text, answer, options_text("SA"), source_ids=source_ids)
