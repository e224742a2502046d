"""Sentiment Analysis: how positive is a product review, on five levels?"""

from ecellm.tasks.option_letters import LetterTask
from ecellm.tasks.wire_options import option_list

FIRST_LINES = 200_000
_FEWEST_WORDS = 10
# 5 stars are option A, 1 star is option E.
OUTPUT_OF_STARS = {5 - place: option for place, option in enumerate(option_list("SA"))}

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
    if stars not in OUTPUT_OF_STARS:
        return "stars that are not 1 to 5"
    return "under ten words" if text.count(" ") < _FEWEST_WORDS - 1 else None
