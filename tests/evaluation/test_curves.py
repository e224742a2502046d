"""Scaling of loss curves."""

from ecellm.evaluation.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, loss_plot


def test_extremes_lie_on_the_edges_of_the_box():
    log = [{"step": step, "kind": "train", "loss": loss} for step, loss in [(1, 4.0), (2, 3.0), (3, 2.0)]]
    plot = loss_plot("run", [*log, {"step": 3, "kind": "val", "loss": 3.0}])
    train, val = plot.curves
    assert (
        train.points
        == f"{LEFT},{TOP} {(LEFT + WIDTH - RIGHT) / 2},{(TOP + HEIGHT - BOTTOM) / 2} {WIDTH - RIGHT},{HEIGHT - BOTTOM}"
    )
    assert (train.last, val.last) == (2.0, 3.0)
    assert val.markers == ((WIDTH - RIGHT, (TOP + HEIGHT - BOTTOM) / 2),)
    assert [tick.text for tick in plot.x_ticks] == ["1", "2", "3"]
    assert [tick.text for tick in plot.y_ticks] == ["2.00", "2.67", "3.33", "4.00"]


def test_long_logs_are_thinned_and_keep_their_last_point():
    plot = loss_plot("run", [{"step": n, "kind": "train", "loss": 1 / n} for n in range(1, 5001)])
    assert len(plot.curves[0].points.split()) == 400
    assert plot.curves[0].last == 1 / 5000


def test_a_log_without_losses_has_no_plot():
    assert loss_plot("run", []) is None
    assert loss_plot("run", [{"step": 1, "kind": "train", "loss": float("nan")}]) is None
    assert loss_plot("run", [{"step": 1, "kind": "train", "loss": 2.0}]) is not None
