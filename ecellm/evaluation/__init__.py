"""Scores, metrics with intervals, trivial baselines, comparisons and the report, from predictions."""
