"""From scored rows to the scores table, which has a row for each answer, flavour and figure.

It is made column by column: every answer's columns once, then taken as often as the answer has figures.
"""

from collections.abc import Sequence

import pyarrow as pa

from ecellm.evaluation.answered import Row
from ecellm.evaluation.scored import Scored
from ecellm.schema import SCORES

_SAMPLE_COLUMNS = ("sample_id", "example_id", "task", "split", "setting", "row_index")


def score_table(run_id: str, samples: Sequence[Row], scored: Sequence[Scored]) -> pa.Table:
    """Return the scores of one run's answers, sample after sample, flavour after flavour.

    Args:
        run_id: of the answers.
        samples: what was answered.
        scored: the answers in each flavour.
    """
    places: list[int] = []
    flavours: list[str] = []
    rows = []
    figures: list[tuple[str, float | None]] = []
    for place in range(len(samples)):
        for each in scored:
            row = each.rows[place]
            num_figures = len(row.components)
            places += [place] * num_figures
            flavours += [each.flavour] * num_figures
            rows += [row] * num_figures
            figures += row.components.items()
    columns = {
        "run_id": [run_id] * len(places),
        "flavour": flavours,
        "parsed": [row.parsed for row in rows],
        "is_valid": [row.is_valid for row in rows],
        "reference": [row.reference for row in rows],
        "component": [name for name, _ in figures],
        "value": [value for _, value in figures],
    }
    of_samples = {
        name: pa.array([sample[name] for sample in samples], SCORES.field(name).type).take(places)
        for name in _SAMPLE_COLUMNS
    }
    return pa.Table.from_pydict({name: (columns | of_samples)[name] for name in SCORES.names}, schema=SCORES)
