"""No response, however malformed, stops a scorer of either flavour or gives figures out of range."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecellm.tasks import FLAVOURS, RELEASED, TASKS

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
# Deep enough that Python parses them and can hardly write them, or cannot parse them; numbers of too many digits.
NESTED = [
    f'[{{"attribute": "color", "value": {"[" * n}{"]" * n}, "source": "x"}}]' for n in (400, 700, 900, 990, 20_000)
]
HOSTILE = [
    "[" * 20_000,
    '{"a":' * 20_000,
    "9" * 5_000,
    "[1e999, -1e999, NaN]",
    "### Response:",
    "\ud800",
    "\x00",
    *NESTED,
]
RESPONSES = st.text() | JSON.map(json.dumps) | LETTERS | st.sampled_from(["yes", "NO", "No.", *HOSTILE])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.short_name)
@pytest.mark.parametrize("flavour", FLAVOURS)
@settings(max_examples=40, deadline=None)
@given(
    responses=st.lists(RESPONSES, min_size=1, max_size=6),
    setting=st.sampled_from(["IND_Diverse_Instruction", "OOD_Single_Instruction"]),
    relevance=st.sampled_from([["S", "E"], ["I", "I"], None]),
)
def test_any_response_is_scored(task, flavour, setting, responses, relevance):
    sample = {
        "setting": setting,
        "input": '{"query": "q", "product list": ["A: x", "B: y"]}',
        "output": SAMPLES.get(task.name, "yes"),
        "options": None,
        "relevance": relevance,
    }
    scorer = task.scorer(flavour)
    rows = [scorer.score(sample, response) for response in responses]
    for row in rows:
        assert row.is_valid == (row.parsed is not None)
        assert row.num_invalid >= 0
    statistics = scorer.statistics(rows)
    assert statistics.shape[0] == len(rows)
    values = scorer.metrics(statistics.sum(0))
    assert set(values) | set(scorer.unavailable(rows)) == set(scorer.metric_names)
    most = np.inf if (task.short_name, flavour) == ("AVE", RELEASED) else 1  # there a repeated prediction hits again
    assert all(0 <= value <= most for value in values.values())
