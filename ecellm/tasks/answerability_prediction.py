"""Answerability Prediction: do review snippets hold the answer to a question about a product?"""

from ecellm.tasks.binary_answers import BinaryTask

TASK = BinaryTask(
    name="Answerability_Prediction",
    short_name="AP",
    description="Can a question about a product be answered from its reviews? (yes, no)",
)
