"""Product Substitute Identification: could a product stand in for the one that a query asks for?"""

from ecellm.tasks.binary_answers import BinaryTask

TASK = BinaryTask(
    name="Product_Substitute_Identification",
    short_name="PSI",
    description="Is a product a functional substitute for what a query asks for? (yes, no)",
    aliases=("Product_Substitue_Identification",),
)
