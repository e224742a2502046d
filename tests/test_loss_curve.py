"""Loss curves: their scale, and what is drawn."""

from xml.etree import ElementTree as ET

from ecellm.loss_curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, legend, loss_plot


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


def full_log():
    rates = {1: 1e-4, 2: 2e-4, 3: 1e-4, 4: 0.0}
    log = [{"step": step, "kind": "train", "loss": 4.0 / step, "learning_rate": rate} for step, rate in rates.items()]
    losses = {2: 2.5, 3: 1.5, 4: 1.5}
    return log + [{"step": step, "kind": "val", "loss": loss, "learning_rate": None} for step, loss in losses.items()]


def test_the_best_validation_and_the_learning_rate_are_seen():
    plot = loss_plot("run", full_log())
    assert (plot.best.step, plot.best.loss) == (3, 1.5), "the first of equals, as training keeps it"
    assert plot.best.place == plot.curves[1].markers[1]
    heights = [float(place.split(",")[1]) for place in plot.rate.points.split()]
    assert heights == [(TOP + HEIGHT - BOTTOM) / 2, TOP, (TOP + HEIGHT - BOTTOM) / 2, HEIGHT - BOTTOM]
    assert dict(legend(plot)) == {
        "train": "training, last 1.000",
        "val": "validation, last 1.500",
        "best": "best 1.500 after step 3",
        "rate": "learning rate, peak 2.0e-04",
    }


def test_the_drawing_is_sound_xml_whatever_the_name():
    plot = loss_plot('<"a" & b>', full_log())
    for as_file in (False, True):
        root = ET.fromstring(draw(plot, as_file=as_file))
        space = "{http://www.w3.org/2000/svg}" if as_file else ""
        assert root.attrib["aria-label"] == 'loss of <"a" & b>'
        assert len(root.findall(f".//{space}polyline")) == 3
        assert len(root.findall(f".//{space}circle")) == 3 + 1
        assert (root.find(f"{space}style") is not None) == as_file


def test_a_log_without_validation_or_rates_is_drawn_too():
    plot = loss_plot("run", [{"step": 1, "kind": "train", "loss": 2.0}])
    assert (plot.best, plot.rate) == (None, None)
    ET.fromstring(draw(plot, as_file=True))
