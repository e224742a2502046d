"""Names of tasks: canonical, the release's misspellings, abbreviations, and mistakes."""

import pytest

from ecellm.errors import InputError
from ecellm.tasks import FLAVOURS, TASKS, canonical_name, find_task, task_named


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Product_Substitue_Identification", "Product_Substitute_Identification"),
        ("Product_Relation_Predicition", "Product_Relation_Prediction"),
        ("Query_Product_Rank", "Query_Product_Ranking"),
        ("AVE", "Attribute_Value_Extraction"),
        ("sr", "Sequential_Recommendation"),
        ("sentiment_analysis", "Sentiment_Analysis"),
        ("Answer_Generation", "Answer_Generation"),
    ],
)
def test_every_spelling_leads_to_the_task(name, canonical):
    assert task_named(name).name == canonical_name(name) == canonical


def test_a_mistake_names_the_nearest_task():
    with pytest.raises(InputError, match="did you mean Product_Matching"):
        task_named("Product_Matchin")
    with pytest.raises(InputError, match="unknown task 'zzz': The tasks are Attribute_Value_Extraction, "):
        canonical_name("zzz")
    assert find_task("zzz") is None


def test_the_ten_tasks_are_told_apart_and_name_a_headline_metric_they_have():
    assert len({task.name for task in TASKS}) == len({task.short_name for task in TASKS}) == 10
    assert all(task.headline_metric in task.scorer(flavour).metric_names for task in TASKS for flavour in FLAVOURS)
