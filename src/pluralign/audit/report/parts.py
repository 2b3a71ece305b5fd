"""The parts a page is made of: a figure with its data, and a section with its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from .svg import Element, Markup, element, written
from .tables import Table

Draw = Callable[[float], Element]
"""A drawing at a width in pixels."""

WIDE = 840.0
NARROW = 344.0
"""Each figure is drawn at both; the stylesheet of the page shows the one that fits."""


@final
@dataclass(frozen=True)
class Figure:
    """A figure with what it says, drawn for a wide and a narrow page, and its data.

    A ``folded`` figure is shown on demand, under that name; an ``alert`` stands before it.
    """

    key: str
    title: str
    caption: tuple[str, ...]
    wide: Markup
    narrow: Markup
    table: Table
    folded: str = ""
    alert: str = ""


@final
@dataclass(frozen=True)
class Card:
    """One finding of the data audit; its texts from the data are hidden until asked for."""

    severity: str
    grade: str
    title: str
    what: str
    why: str
    remedy: str
    places: str
    texts: tuple[str, ...]


@final
@dataclass(frozen=True)
class Section:
    """A part of the page: its title asks, its figures and tables answer."""

    key: str
    short: str
    title: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    lead: str = ""
    cards: tuple[Card, ...] = ()


def make_figure(key: str, title: str, caption: Sequence[str], draw: Draw, table: Table) -> Figure:
    """Draw both forms, each with a title and a description for those who hear the page."""
    drawn: list[Markup] = []
    for form, width in (("wide", WIDE), ("narrow", NARROW)):
        drawing = draw(width)
        for place, (part, text) in enumerate((("title", title), ("desc", " ".join(caption)))):
            made = element(part, text=text, id=f"{key}-{form}-{part}")
            drawing.insert(place, made)
        drawing.set("class", f"drawing {form}")
        drawing.set("aria-labelledby", f"{key}-{form}-title")
        drawing.set("aria-describedby", f"{key}-{form}-desc")
        drawn.append(written(drawing))
    return Figure(key, title, tuple(filter(None, caption)), drawn[0], drawn[1], table)
