"""No response, however malformed, stops a scorer or gives figures out of range."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecellm.tasks import TASKS

SAMPLES = {
    "Attribute_Value_Extraction": '[{"attribute": "color", "value": "red", "source": "product title"}]',
    "Query_Product_Ranking": "B,A",
    "Sequential_Recommendation": "C",
    "Sentiment_Analysis": "A: very positive",
    "Multiclass_Product_Classification": "A: relevant",
    "Product_Relation_Prediction": "A",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["attribute", "value", "source", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
LETTERS = st.text(alphabet="ABCDEZ ,\n", max_size=12)
RESPONSES = st.text() | JSON.map(json.dumps) | LETTERS | st.sampled_from(["yes", "NO", "[" * 20_000, "### Response:"])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.short_name)
@pytest.mark.parametrize("setting", ["IND_Diverse_Instruction", "OOD_Single_Instruction"])
@settings(max_examples=60, deadline=None)
@given(responses=st.lists(RESPONSES, min_size=1, max_size=6))
def test_any_response_is_scored(task, setting, responses):
    sample = {
        "setting": setting,
        "input": '{"query": "q", "product list": ["A: x", "B: y"]}',
        "output": SAMPLES.get(task.name, "yes"),
        "options": None,
        "relevance": ["S", "E"],
    }
    rows = [task.score(sample, response) for response in responses]
    for row in rows:
        assert row.is_valid == (row.parsed is not None)
        assert row.num_invalid >= 0
    statistics = task.statistics(rows)
    assert statistics.shape[0] == len(rows)
    values = task.metrics(statistics.sum(0))
    assert set(values) | set(task.unavailable(rows)) == set(task.metric_names)
    assert all(np.isfinite(value) and value >= 0 for value in values.values())
