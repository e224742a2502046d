"""Answer generation: every metric is absent, each with a reason."""

from ecellm.tasks import task_named


def test_all_metrics_are_unavailable_with_a_reason():
    task = task_named("AG")
    rows = [task.score({"output": "It is blue."}, "Blue.")]
    assert rows[0].parsed == "Blue."
    assert task.metrics(task.statistics(rows).sum(0)) == {}
    assert list(task.unavailable(rows)) == list(task.metric_names)
    assert task.unavailable(rows)["bertscore_f1"] == "needs a language model scorer, which is not configured"
    assert task.trivial_answers([{"output": "x"}], 0) == {}
