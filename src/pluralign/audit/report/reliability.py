"""Reliability curves: what is claimed against what is found, a panel for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .scales import Scale, drawable, percent_tick, scale
from .svg import BOLD, Element, document, element, fitted, label, legible, line, symbol, width_of

_GAP = 28.0
_AXIS = "claimed by the rewards"


@final
@dataclass(frozen=True)
class Point:
    """One level: claimed and found share, with the interval of the latter."""

    claimed: float
    found: float
    low: float | None
    high: float | None
    tip: str


@final
@dataclass(frozen=True)
class Curve:
    """The levels of one model; ``look`` is that of the model, see ``svg.symbol``."""

    title: str
    note: str
    look: int
    points: tuple[Point, ...]


@final
@dataclass(frozen=True)
class Reliability:
    """Reliability curves side by side; on the diagonal, claims hold."""

    curves: tuple[Curve, ...]

    def __call__(self, width: float) -> Element:
        """Draw at a width: up to three panels in a row on a wide page, one on a phone."""
        columns = min(max(len(self.curves), 2), 3) if width >= 600 else 1
        cell = (width - _GAP * (columns - 1)) / columns
        height = min(cell, 300.0)
        rows = -(-len(self.curves) // columns)
        drawing = document(width, rows * height + 4)
        ends = [v for c in self.curves for p in c.points for v in (p.found, p.low, p.high)]
        least = min([0.5, *drawable(ends)])
        for place, curve in enumerate(self.curves):
            row, column = divmod(place, columns)
            _panel(drawing, curve, (column * (cell + _GAP), row * height, cell, height), least)
        return drawing


def _panel(
    drawing: Element, curve: Curve, box: tuple[float, float, float, float], least: float
) -> None:
    x, y, width, height = box
    top, bottom = y + 46.0, y + height - 46.0
    up = scale([least, 1.0], bottom, top, floor=0.0, ceiling=1.0, n_ticks=5)
    left = x + 8 + max(width_of(percent_tick(tick), 12) for tick in up.ticks)
    across = scale([0.5, 1.0], left, x + width - 20.0, floor=0.5, ceiling=1.0, n_ticks=5)
    label(drawing, x, y + 16, fitted(curve.title, width, BOLD), "name")
    label(drawing, x, y + 33, fitted(curve.note, width, 12), "muted")
    for tick in up.ticks:
        line(drawing, left, up(tick), across.stop, up(tick), "grid")
        label(drawing, left - 6, up(tick) + 4, percent_tick(tick), "tick", "end")
    for tick in across.ticks:
        label(drawing, across(tick), bottom + 18, percent_tick(tick), "tick", "middle")
    label(drawing, (left + across.stop) / 2, bottom + 36, _AXIS, "muted", "middle")
    line(drawing, across(0.5), up(0.5), across(1.0), up(1.0), "reference")
    for point in curve.points:
        _point(drawing, point, curve.look, across, up)


def _point(drawing: Element, point: Point, look: int, across: Scale, up: Scale) -> None:
    group = element("g", drawing, class_="mark")
    element("title", group, legible(point.tip))
    x = across(point.claimed)
    ends = drawable([point.low, point.high])
    if len(ends) == 2:
        low, high = sorted(up(end) for end in ends)
        line(group, x, low, x, high, f"whisker s{look}")
    element("rect", group, x=x - 8, y=up(point.found) - 14, width=16, height=28, class_="hit")
    symbol(group, look, x, up(point.found))
