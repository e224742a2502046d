"""The released flavour against a second implementation, written from the rules by someone who had not seen the first.

Ten thousand fuzzed answers for each task, a third of them malformed or hostile: every figure to three decimals, over
all rows and over few at a time, so that no two differences cancel out.
"""

from collections import defaultdict

import numpy as np
import pytest

from ecellm.tasks import RELEASED, TASKS, task_named
from tests.evaluation.fuzzed_answers import fuzzed_rows
from tests.evaluation.second_scorer import released_metrics

NUM_ROWS, FEW, SEED = 10_000, 20, 7
FUZZED = [task.name for task in TASKS if task.name != "Answer_Generation"]


@pytest.mark.parametrize("name", FUZZED)
def test_both_scorers_agree_on_fuzzed_answers(name):
    task, scorer = task_named(name), task_named(name).scorer(RELEASED)
    by_setting = defaultdict(list)
    for row in fuzzed_rows(task.name, NUM_ROWS, SEED):
        by_setting[row["setting"]].append(row)
    for setting, rows in by_setting.items():
        scores = [scorer.score(row, row["response"]) for row in rows]
        statistics = scorer.statistics(scores)
        few_at_a_time = (range(start, min(start + FEW, len(rows))) for start in range(0, len(rows), FEW))
        for members in [range(len(rows)), *few_at_a_time]:
            sums = statistics[members].sum(axis=0)
            ours = {metric: float(value) for metric, value in scorer.metrics(sums).items()}
            ours["num_invalid"] = sum(scores[number].num_invalid for number in members)
            chosen = [rows[number] for number in members]
            theirs = released_metrics(
                name,
                setting,
                [row["response"] for row in chosen],
                [row["output"] for row in chosen],
                [row["relevance"] for row in chosen] if name == "Query_Product_Ranking" else None,
            )
            assert ours.keys() == theirs.keys()
            differing = {
                metric: (ours[metric], theirs[metric])
                for metric in ours
                if not np.isclose(ours[metric], theirs[metric], rtol=0, atol=5e-4)
            }
            assert not differing, (setting, differing, [row["response"][:200] for row in chosen[:2]])
