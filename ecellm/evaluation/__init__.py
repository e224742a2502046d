"""Scores, metrics with intervals, floors, comparisons and the report, from predictions.

`score` is for whoever has answers and references in lists; importing it needs neither Ray nor models.
"""

from ecellm.evaluation.score_lists import Figure, score

__all__ = ["Figure", "score"]
