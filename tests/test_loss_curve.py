"""Loss curves: what is taken from the log, and what is drawn."""

from xml.etree import ElementTree as ET

import numpy as np

from ecellm.loss_curve import draw_loss, loss_curve

SPACE = "{http://www.w3.org/2000/svg}"


def full_log():
    rates = {1: 1e-4, 2: 2e-4, 3: 1e-4, 4: 0.0}
    log = [{"step": step, "kind": "train", "loss": 4.0 / step, "learning_rate": rate} for step, rate in rates.items()]
    losses = {2: 2.5, 3: 1.5, 4: 1.5}
    return log + [{"step": step, "kind": "val", "loss": loss, "learning_rate": None} for step, loss in losses.items()]


def test_long_logs_are_thinned_and_keep_their_ends():
    curve = loss_curve("run", [{"step": n, "kind": "train", "loss": 1 / n} for n in range(1, 5001)])
    assert curve.train.shape == (400, 2)
    assert curve.train[[0, -1]].tolist() == [[1, 1], [5000, 1 / 5000]]


def test_a_log_without_losses_has_no_curve():
    assert loss_curve("run", []) is None
    assert loss_curve("run", [{"step": 1, "kind": "train", "loss": float("nan")}]) is None
    assert loss_curve("run", [{"step": 1, "kind": "train", "loss": 2.0}]) is not None


def test_a_validation_without_a_loss_and_a_loss_beyond_measure_do_no_harm():
    log = [{"step": n, "kind": "val", "loss": loss} for n, loss in enumerate([None, 1e300, 3.0])]
    facts = loss_curve("run", log).facts()
    assert facts["best validation loss"] == "3.000 after step 2"
    assert loss_curve("run", log[:2]).facts()["last validation loss"] == "1e+300"


def test_the_best_validation_is_the_first_of_equals_as_training_keeps_it():
    curve = loss_curve("run", full_log())
    assert curve.best == (3, 1.5)
    assert curve.facts() == {
        "steps": "4",
        "last training loss": "1.000",
        "last validation loss": "1.500",
        "best validation loss": "1.500 after step 3",
        "highest learning rate": "2.0e-04",
    }


def points(path):
    numbers = [float(part) for part in path.attrib["d"].split() if part not in {"M", "L"}]
    return np.array(numbers).reshape(-1, 2)


def test_curves_are_drawn_to_scale():
    root = ET.fromstring(draw_loss(loss_curve("run", full_log())))
    lines = {name: [p for p in root.iter("path") if p.get("class") == f"stroke-{name}"] for name in ("run-0", "run-2")}
    train = next(points(path) for path in lines["run-0"] if len(points(path)) == 4)
    fall = train[0, 1] - train[:, 1]  # SVG counts from the top
    np.testing.assert_allclose(fall / fall[-1], [0, 2 / 3, 8 / 9, 1], atol=0.01)
    rate = next(points(path) for path in lines["run-2"] if len(points(path)) == 4)
    np.testing.assert_allclose((rate[3, 1] - rate[:, 1]) / (rate[3, 1] - rate[1, 1]), [0.5, 1, 0.5, 0], atol=0.01)
    marks = [use for use in root.iter("use") if "run-1" in use.get("class", "")]
    assert len(marks) == 3 + 1 + 2, "each validation, the ring around the best, and the two in the legend"


def test_the_drawing_is_sound_xml_whatever_the_name():
    curve = loss_curve('<"a" & b>', full_log())
    for is_file in (False, True):
        root = ET.fromstring(draw_loss(curve, is_file=is_file))
        space = SPACE if is_file else ""
        assert root.attrib["aria-label"].startswith('Loss and learning rate of <"a" & b> over optimizer steps')
        assert '<"a" & b>' in [text.text for text in root.iter(f"{space}text")]
        assert (root.find(f"{space}style") is not None) == is_file


def test_axes_have_names():
    texts = [text.text for text in ET.fromstring(draw_loss(loss_curve("run", full_log()))).iter("text")]
    assert {"optimizer step", "loss on the answers", "learning rate", "training loss", "best validation"} <= set(texts)


def test_a_log_without_validation_or_rates_is_drawn_too():
    curve = loss_curve("run", [{"step": 1, "kind": "train", "loss": 2.0}])
    assert (curve.best, len(curve.rate)) == (None, 0)
    ET.fromstring(draw_loss(curve, is_file=True))
