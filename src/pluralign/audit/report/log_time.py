"""How far weights have travelled against the number of updates, on a logarithmic axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from .collection_curves import round_sizes
from .legend import draw_legend, legend_places
from .scales import Scale, number, scale
from .svg import Element, document, element, label, legible, line, symbol
from .svg import width_of as text_width

_HEIGHT = 320.0


@final
@dataclass(frozen=True)
class Travel:
    """One training: distances by update, and the law fitted to them.

    Args:
        name: of the training.
        points: ``(update, distance)``, updates >= 1.
        law: intercept and slope of ``d = a + b ln t``, if it was fitted.
        before: first update that was left out of the fit.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    law: tuple[float, float] | None
    before: float | None


@final
@dataclass(frozen=True)
class LogTime:
    """Distance up, updates across on a logarithmic axis: the law of the method is a straight line.

    Args:
        travels: at most as many as there are looks for models.
    """

    travels: tuple[Travel, ...]

    def __call__(self, width: float) -> Element:
        """Draw at a width."""
        places, above = legend_places([(i, t.name) for i, t in enumerate(self.travels)], width)
        top, bottom = above + 34.0, above + 34.0 + _HEIGHT
        points = [point for travel in self.travels for point in travel.points]
        up = scale([0.0, *(distance for _, distance in points)], bottom, top, floor=0.0)
        left = 16 + max(text_width(number(tick), 12) for tick in up.ticks)
        first, last = min(t for t, _ in points), max(t for t, _ in points)
        last = max(last, first * 1.5)
        across = Scale(math.log(first), math.log(last), left + 8, width - 30.0)
        drawing = document(width, bottom + 48)
        draw_legend(drawing, places)
        label(drawing, 4, top - 14, "distance of the weights from their start", "muted")
        for tick in up.ticks:
            line(drawing, left, up(tick), across.stop, up(tick), "grid")
            label(drawing, left - 8, up(tick) + 4, number(tick), "tick", "end")
        for size in round_sizes((first, last), across.stop - across.start):
            label(drawing, across(math.log(size)), bottom + 18, number(size), "tick", "middle")
        middle = (left + across.stop) / 2
        label(drawing, middle, bottom + 40, "updates, logarithmic", "muted", "middle")
        for look, travel in enumerate(self.travels):
            _law(drawing, travel, look, across, up)
            for t, distance in travel.points:
                _point(drawing, travel, (t, distance), look, (across, up))
        return drawing


def _law(drawing: Element, travel: Travel, look: int, across: Scale, up: Scale) -> None:
    if travel.law is None:
        return
    intercept, slope = travel.law
    fitted = [t for t, _ in travel.points if travel.before is None or t < travel.before]
    ends = [(math.log(t), intercept + slope * math.log(t)) for t in (min(fitted), max(fitted))]
    inside = [(x, max(y, up.low)) for x, y in ends]
    steps = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in inside)
    element("polyline", drawing, points=steps, class_=f"curve s{look}")


def _point(
    drawing: Element,
    travel: Travel,
    point: tuple[float, float],
    look: int,
    scales: tuple[Scale, Scale],
) -> None:
    t, distance = point
    across, up = scales
    x, y = across(math.log(t)), up(distance)
    group = element("g", drawing, class_="mark")
    said = f"{travel.name}\nafter {number(t)} updates: {number(distance)}"
    left_out = travel.before is not None and t >= travel.before
    element("title", group, legible(said + ("\nnot in the fit" if left_out else "")))
    element("rect", group, x=x - 7, y=y - 9, width=14, height=18, class_="hit")
    symbol(group, look, x, y, hollow=left_out)
