"""The legend over a drawing: keys in as many lines as its width asks for."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import ORIGIN, Element, element, fitted, label, line, symbol, width_of

Place = tuple[float, float, int | str, str]


def legend_places(keys: Sequence[tuple[int | str, str]], width: float) -> tuple[list[Place], float]:
    """Where each key stands (x, y, look, text), and the height of the legend."""
    places: list[Place] = []
    x, y = 10.0, 14.0
    for look, name in keys:
        text = fitted(name, min(width - 40, 300.0))
        needed = 24 + width_of(text) + 18
        if places and x + needed - 18 > width:
            x, y = 10.0, y + 22
        places.append((x, y, look, text))
        x += needed
    return places, y + 16 if places else 0.0


def draw_legend(drawing: Element, places: Sequence[Place]) -> None:
    """Draw the keys: a stroke for a curve, a mark for a look, a ring, the dot of an origin."""
    for x, y, look, text in places:
        if isinstance(look, str):
            line(drawing, x - 2, y - 4, x + 16, y - 4, f"curve {look}")
        elif look == ORIGIN:
            element("circle", drawing, cx=x + 7, cy=y - 4, r=4, class_="origin")
        elif look < 0:
            element("circle", drawing, cx=x + 7, cy=y - 4, r=4.5, class_="dot key hollow")
        else:
            symbol(drawing, look, x + 7, y - 4)
        label(drawing, x + 22, y, text, "key-text")
