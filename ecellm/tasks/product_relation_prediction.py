"""Product Relation Prediction: are two products bought together, viewed together, or similar?"""

from ecellm.tasks.option_letters import LetterTask

TASK = LetterTask(
    name="Product_Relation_Prediction",
    short_name="PRP",
    description="How do two products relate: also bought, also viewed, similar? (A to C)",
    headline_metric="f1",
    aliases=("Product_Relation_Predicition",),
    answers_with_letter=True,
    max_answer_tokens=16,
)
