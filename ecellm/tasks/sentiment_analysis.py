"""Sentiment Analysis: how positive is a product review, on five levels?"""

from ecellm.tasks.option_letters import LetterTask

TASK = LetterTask(
    name="Sentiment_Analysis",
    short_name="SA",
    description="How positive is a product review? (A: very positive to E: very negative)",
    headline_metric="f1",
    answers_with_letter=False,
    max_answer_tokens=48,
)
