"""Multiclass Product Classification: how well does a product fit a query, on the four levels of ESCI?"""

from ecellm.tasks.option_letters import LetterTask

TASK = LetterTask(
    name="Multiclass_Product_Classification",
    short_name="MPC",
    description="How relevant is a product to a query: exact, substitute, complement, irrelevant? (A to D)",
    headline_metric="acc",
    answers_with_letter=False,
    max_answer_tokens=48,
)
