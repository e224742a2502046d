"""Plots as SVG: colours that follow the page, ids of their own, nothing that a strict policy would refuse."""

import re
from xml.etree import ElementTree as ET

import pytest

from ecellm.svg_plots import COLOURS, PALETTE, draw, palette_css


def paint(figure):
    axes = figure.subplots()
    axes.plot([1, 2, 3], [0.1, 0.5, 0.2], "o-", color=COLOURS["run-1"], label="$5 to $10 <b>")
    axes.barh([0.1], [2.0], color=COLOURS["good"], alpha=0.5)
    axes.set_xlabel("steps\u202e of \x00")
    axes.grid()
    figure.legend()


def drawn(name="one", **changes):
    return draw(
        paint, **({"title": "A title", "label": "what <it> shows", "name": name, "width": 300, "height": 200} | changes)
    )


def test_the_same_painting_gives_the_same_bytes_without_a_date():
    assert drawn() == drawn()
    assert not re.search(r"20\d\d-\d\d", drawn())


def test_colours_are_classes_and_nothing_has_a_style():
    root = ET.fromstring(drawn())
    assert not [element for element in root.iter() if "style" in element.attrib or element.tag in {"style", "script"}]
    colours = {value for element in root.iter() for key, value in element.attrib.items() if key in {"fill", "stroke"}}
    assert colours <= {"none"}
    classes = " ".join(element.get("class", "") for element in root.iter()).split()
    assert {"stroke-run-1", "fill-good", "fill-soft", "fill-ink"} <= set(classes)
    css = palette_css()
    assert all(f".plot .{name} " in css for name in set(classes) - {"plot"})


def test_ids_of_two_plots_differ_and_every_reference_has_its_target():
    ids = []
    for name in ("one", "two"):
        root = ET.fromstring(drawn(name))
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert {use.attrib["href"] for use in root.iter("use")} == {f"#{identity}" for identity in own}
        ids += own
    assert len(set(ids)) == len(ids) > 0


def test_text_is_text_without_formulas_and_hides_nothing():
    root = ET.fromstring(drawn())
    texts = {text.text for text in root.iter("text")}
    assert {"A title", "$5 to $10 <b>", "steps⟨U+202E⟩ of ⟨U+0000⟩"} <= texts
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", "what <it> shows")
    assert root.attrib["viewBox"] == "0 0 300 200"


def test_a_file_brings_its_own_colours_on_white():
    root = ET.fromstring(drawn(is_file=True))
    space = "{http://www.w3.org/2000/svg}"
    assert [child.tag for child in root[:2]] == [f"{space}style", f"{space}rect"]
    assert PALETTE["run-1"][0] in root[0].text
    assert "light-dark" not in root[0].text


def test_a_colour_of_ones_own_is_a_mistake():
    with pytest.raises(AssertionError, match="#ff0000 is no colour of the palette"):
        draw(
            lambda figure: figure.subplots().plot([1], color="red"), title="", label="", name="x", width=300, height=200
        )


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", [name for name in PALETTE if name != "line"])
def test_every_colour_can_be_read_on_every_ground_of_the_page(name):
    """WCAG AA asks for 4.5. The grounds: page, panels and the callouts of style.css."""
    light, dark = PALETTE[name]
    assert min(contrast(light, ground) for ground in ("#ffffff", "#f6f7f9")) >= 4.5
    assert min(contrast(dark, ground) for ground in ("#12161c", "#1a2029")) >= 4.5
    callouts = {"good": ("#e9f6ee", "#14291d"), "bad": ("#fdeeec", "#331a19"), "warn": ("#fdf4e3", "#2c2312")}
    if name in callouts:
        assert min(contrast(light, callouts[name][0]), contrast(dark, callouts[name][1])) >= 4.5
