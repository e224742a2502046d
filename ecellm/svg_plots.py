"""Plots by matplotlib as SVG that takes on the colours of the page it stands in, or stands alone as a file.

In: a function that paints on a matplotlib figure with the colours of `COLOURS`. Out: an `svg` element whose text is
text and whose colours are CSS classes (`ink` colours strokes and fills named so), without any `style` attribute, which
a strict content security policy would refuse. The same painting gives the same bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from ecellm.visible_text import short_text, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Name of a colour -> its value on light and on dark pages. As text or as a line, each has the contrast that WCAG AA
# asks for on both pages; the values paint nothing by themselves, the page's CSS does (`palette_css`).
PALETTE: Mapping[str, tuple[str, str]] = {
    "ink": ("#1b2026", "#e7eaef"),
    "soft": ("#56606c", "#a2adba"),
    "line": ("#dde1e7", "#303845"),
    "good": ("#16733f", "#62d394"),
    "bad": ("#b3261e", "#ff8f85"),
    "warn": ("#8a5a00", "#f0b44c"),
    "run-0": ("#65707d", "#aab4c0"),
    "run-1": ("#1763c6", "#6fb0ff"),
    "run-2": ("#b4500f", "#f3a066"),
    "run-3": ("#0f7a68", "#57cdb5"),
    "run-4": ("#8f3a9e", "#d796e3"),
    "run-5": ("#7a6200", "#d8bd4e"),
}
NUM_RUN_COLOURS = sum(name.startswith("run-") for name in PALETTE)
# What is painted with: each name's place as a nearly black that no one would choose, found again in the SVG.
COLOURS: Mapping[str, str] = {name: f"#0000{number:02x}" for number, name in enumerate(PALETTE, 1)}
_NAME_OF = {colour: name for name, colour in COLOURS.items()}

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_POINTS_PER_INCH = 72
_MOST_TITLE = 42
# A style property that becomes an attribute of the same name; those of colours become classes, others are dropped.
_KEPT = {
    "font-size",
    "font-weight",
    "opacity",
    "fill-opacity",
    "stroke-opacity",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-width",
    "text-anchor",
}
_NUMBER = re.compile(r"-?\d+\.\d+")
_MATPLOTLIB: dict[Any, Any] = {
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the layout is the same everywhere
    "font.size": 11,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 1.0,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["soft"],
    "svg.fonttype": "none",
    "svg.hashsalt": "ecellm",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a product's name may hold dollar signs
    "xtick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.color": COLOURS["line"],
    "ytick.labelcolor": COLOURS["soft"],
}


def run_colour(number: int) -> str:
    """Return the name of the colour of the run in column `number`, from 0."""
    return f"run-{number % NUM_RUN_COLOURS}"


def palette_css(*, is_file: bool = False) -> str:
    """Return the CSS of the colours: variables and the classes that plots use.

    Args:
        is_file: light colours alone, for an SVG file on a white ground.
    """
    values = {name: light if is_file else f"light-dark({light}, {dark})" for name, (light, dark) in PALETTE.items()}
    lines = [
        ":root {",
        *(f"  --{name}: {value};" for name, value in values.items()),
        "}",
        *(f".plot .{part}-{name} {{ {part}: var(--{name}); }}" for name in PALETTE for part in ("fill", "stroke")),
        ".plot text { font-family: system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif; }",
    ]
    return "\n".join(lines)


def draw(
    paint: Callable[["Figure"], None],
    *,
    title: str,
    label: str,
    name: str,
    width: int,
    height: int,
    is_file: bool = False,
) -> str:
    """Return what `paint` paints as an `svg` element.

    Args:
        paint: paints on the figure it is given; with the values of `COLOURS` alone.
        title: stands above it; is cut if it is long.
        label: what the plot shows, for those who cannot see it.
        name: tells the ids of this plot from those of other plots on the page; letters, digits and dashes.
        width: in CSS pixels.
        height: in CSS pixels.
        is_file: with its own colours and a white ground, to stand alone; else for a page that has `palette_css`.
    """
    painted = visible(_painted(paint, title, width, height))  # controls have no place in XML
    root = ET.fromstring(painted)  # noqa: S314  matplotlib's own output
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.tail = None  # white space of the layout
        if element.text and element.text.isspace():
            element.text = None
        _style_to_attributes(element)
    _drop_metadata(root)
    _rename_ids(root, name)
    _flatten(root)
    root.attrib = {"class": "plot", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": visible(label)}
    if is_file:
        _make_file(root, width, height)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _painted(paint: Callable[["Figure"], None], title: str, width: int, height: int) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_MATPLOTLIB), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has other fonts
        size = width / _POINTS_PER_INCH, height / _POINTS_PER_INCH
        figure = Figure(figsize=size, dpi=_POINTS_PER_INCH, layout="constrained")
        paint(figure)
        figure.suptitle(short_text(title, _MOST_TITLE), x=0.01, ha="left", size=12, weight="bold")
        file = io.BytesIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # a date would change the bytes
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    return file.getvalue().decode()


def _style_to_attributes(element: ET.Element) -> None:
    """Replace the `style` attribute: colours by classes, the rest by attributes; and shorten numbers."""
    classes = []
    for part in element.attrib.pop("style", "").split(";"):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key in {"fill", "stroke"}:
            if value == "none":
                element.set(key, value)
            elif value in _NAME_OF:
                classes.append(f"{key}-{_NAME_OF[value]}")
            else:
                raise AssertionError(f"{value} is no colour of the palette")
        elif key in _KEPT:
            element.set(key, value.removesuffix("px"))
    if classes:
        element.set("class", " ".join(classes))
    element.attrib.pop("clip-path", None)  # nothing that is painted lies outside the axes
    if re.fullmatch(r"rotate\(-0 .*", element.get("transform", "")):
        del element.attrib["transform"]
    for key in ("d", "x", "y", "transform"):
        if key in element.attrib:
            element.set(key, " ".join(_NUMBER.sub(_two_digits, element.attrib[key]).split()))


def _two_digits(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _drop_metadata(root: ET.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {"metadata", "style", "clipPath"}:
                parent.remove(child)


def _rename_ids(root: ET.Element, name: str) -> None:
    """Keep the ids that something refers to, made the plot's own."""
    used = set()
    for element in root.iter("use"):
        target = element.attrib.pop(f"{_XLINK}href").removeprefix("#")
        used.add(target)
        element.set("href", f"#{name}-{target}")
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")
            for key in ("class", "stroke-width"):  # those of the places where it is used count
                element.attrib.pop(key, None)


def _flatten(parent: ET.Element) -> None:
    """Put the children of groups and definitions without attributes in their place."""
    for child in list(parent):
        _flatten(child)
    children: list[ET.Element] = []
    for child in parent:
        is_bare = child.tag == "g" and not child.attrib
        is_empty = not len(child) and (child.tag in {"g", "defs"} or _is_invisible(child))
        children += list(child) if is_bare else [] if is_empty else [child]
    parent[:] = children


def _is_invisible(element: ET.Element) -> bool:
    return element.tag == "path" and element.get("fill") == "none" and "stroke-" not in element.get("class", "")


def _make_file(root: ET.Element, width: int, height: int) -> None:
    root.set("xmlns", _SVG.strip("{}"))
    style = ET.Element("style")
    style.text = palette_css(is_file=True)
    ground = ET.Element("rect", {"width": str(width), "height": str(height), "fill": "#ffffff"})
    root[:0] = [style, ground]
