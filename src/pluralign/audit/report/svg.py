"""A small SVG writer on ``xml.etree``: every text is escaped, every tree is valid XML.

No colour is written here: marks carry classes, and the stylesheet of the page gives
them colours for light, dark and paper.
"""

from __future__ import annotations

import re
import unicodedata
from typing import final
from xml.etree import ElementTree

Element = ElementTree.Element

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
"""A name, not an address: nothing is ever loaded from it."""

FONT_SIZE = 13.0
BOLD = 1.15 * FONT_SIZE
"""Size by whose estimate bold text of the usual size fits."""

_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legible(text: object) -> str:
    """Text that XML and UTF-8 can hold: control characters become visible signs."""
    return _FORBIDDEN.sub(_visible, str(text))


def plain(text: object, limit: int = 120) -> str:
    r"""A user's text on one line, cut with an ellipsis.

    Characters that turn the direction of what follows are written out as ``\u202e``,
    so that a name cannot reorder the sentence it stands in.
    """
    line = " ".join(legible(text).split())
    line = _DIRECTION.sub(lambda found: f"\\u{ord(found.group()):04x}", line) or "(blank)"
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def isolated(text: object, limit: int = 60) -> str:
    """A user's text for use in a sentence, whatever the direction of its script."""
    return f"\u2068{plain(text, limit)}\u2069"


def width_of(text: str, size: float = FONT_SIZE) -> float:
    """A cautious estimate of the width of a text in pixels, without a font at hand."""
    return size * sum(_em(character) for character in text)


def fitted(text: object, room: float, size: float = FONT_SIZE) -> str:
    """Text cut with an ellipsis so that it fits into ``room`` pixels."""
    line = legible(text)
    if width_of(line, size) <= room:
        return line
    left = room - width_of("…", size)
    for number, character in enumerate(line):
        left -= width_of(character, size)
        if left < 0:
            return f"{line[:number].rstrip()}…"
    return line


def element(
    tag: str, parent: Element | None = None, text: str = "", **attributes: object
) -> Element:
    """One element; underscores in names become hyphens, numbers are rounded to 0.01 px.

    Args:
        tag: name of the element.
        parent: where to append it.
        text: its text.
        attributes: ``class_`` stands for ``class``; ``None`` leaves an attribute out.
    """
    written = {
        name.rstrip("_").replace("_", "-"): _written(value)
        for name, value in attributes.items()
        if value is not None
    }
    made = Element(tag, written) if parent is None else ElementTree.SubElement(parent, tag, written)
    if text:
        made.text = legible(text)
    return made


def line(parent: Element, x1: float, y1: float, x2: float, y2: float, class_: str) -> Element:
    """A straight line."""
    return element("line", parent, x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def label(
    parent: Element, x: float, y: float, text: str, class_: str = "", anchor: str | None = None
) -> Element:
    """One line of text; ``anchor`` is ``middle`` or ``end``."""
    return element("text", parent, text, x=x, y=y, class_=class_ or None, text_anchor=anchor)


MODEL_LOOKS = 6
ESTIMATE, ASSUMED, TRUTH = 6, 7, 8
"""Looks that stand for no model; the first ones are for models, in their order."""

HOLLOW, ORIGIN = -1, -2
"""Keys of a legend that are no look of their own: an outline, and where a mark came from."""

_SHAPES = ("circle", "square", "triangle", "diamond", "circle", "square")
_OTHER_SHAPES = {ESTIMATE: "circle", ASSUMED: "square", TRUTH: "diamond"}


def symbol(parent: Element, look: int, x: float, y: float, hollow: bool = False) -> Element:
    """The mark of a series: its shape repeats what its colour says."""
    class_ = f"dot s{look}{' hollow' if hollow else ''}"
    match _OTHER_SHAPES.get(look) or _SHAPES[look]:
        case "circle":
            return element("circle", parent, cx=x, cy=y, r=4.5, class_=class_)
        case "square":
            return element("rect", parent, x=x - 4, y=y - 4, width=8, height=8, class_=class_)
        case "triangle":
            return _path(parent, [(x, y - 5.2), (x + 5, y + 3.8), (x - 5, y + 3.8)], class_)
        case _:
            corners = [(x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y)]
            return _path(parent, corners, class_)


def document(width: float, height: float) -> Element:
    """An empty drawing of a given size in pixels, that scales with its container."""
    return element(
        "svg",
        xmlns=SVG_NAMESPACE,
        viewBox=f"0 0 {_written(width)} {_written(height)}",
        width=width,
        height=height,
        role="img",
    )


@final
class Markup(str):
    """Serialised SVG, written by ``xml.etree``, which jinja2 puts in as it is."""

    def __html__(self) -> str:
        """The text itself: it has been escaped when it was written."""
        return str(self)


def written(tree: Element) -> Markup:
    """The text of a tree."""
    return Markup(ElementTree.tostring(tree, encoding="unicode"))


def _path(parent: Element, corners: list[tuple[float, float]], class_: str) -> Element:
    steps = " L".join(f"{_written(x)} {_written(y)}" for x, y in corners)
    return element("path", parent, d=f"M{steps} Z", class_=class_)


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{round(value, 2):g}" if abs(value) < 1e5 else f"{value:.0f}"
    return legible(value)


def _visible(found: re.Match[str]) -> str:
    code = ord(found.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def _em(character: str) -> float:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in "ilj.,:;'|!()[]ftrI ":
        return 0.38
    return 0.82 if character in "mwMW@%—" else 0.62
