"""What each strength buys: a loss against the dependence that is left, by penalty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from .fields import Estimate
from .legend import draw_legend, legend_places
from .scales import Scale, drawable, number, scale
from .svg import TRUTH, Element, document, element, fitted, label, legible, line, symbol
from .svg import width_of as text_width

_HEIGHT = 340.0


@final
@dataclass(frozen=True)
class Point:
    """One strength: the loss across, the dependence up, each with its interval."""

    strength: float
    score: Estimate
    dependence: Estimate
    chosen: bool
    on_front: bool


@final
@dataclass(frozen=True)
class Curve:
    """The strengths of one penalty, in ascending order."""

    name: str
    points: tuple[Point, ...]


@final
@dataclass(frozen=True)
class Tradeoff:
    """Loss across and dependence up; a path for each penalty, its chosen strength marked.

    Args:
        curves: at most as many as there are looks for models.
        score: name of the loss.
        dependence: name of the measure of dependence.
    """

    curves: tuple[Curve, ...]
    score: str
    dependence: str

    def __call__(self, width: float) -> Element:
        """Draw at a width."""
        keys: list[tuple[int, str]] = [(i, curve.name) for i, curve in enumerate(self.curves)]
        if any(point.chosen for curve in self.curves for point in curve.points):
            keys.append((TRUTH, "the chosen strength"))
        places, above = legend_places(keys, width)
        points = [point for curve in self.curves for point in curve.points]
        top, bottom = above + 34.0, above + 34.0 + _HEIGHT
        up = scale(_all(point.dependence for point in points), bottom, top, floor=0.0)
        left = 16 + max(text_width(number(tick), 12) for tick in up.ticks)
        ticks = 7 if width >= 600 else 3
        across = scale(_all(p.score for p in points), left, width - 26.0, n_ticks=ticks)
        drawing = document(width, bottom + 48)
        draw_legend(drawing, places)
        label(drawing, 4, top - 14, fitted(self.dependence, width - 8, 12), "muted")
        for tick in up.ticks:
            line(drawing, left, up(tick), across.stop, up(tick), "grid")
            label(drawing, left - 8, up(tick) + 4, number(tick), "tick", "end")
        for tick in across.ticks:
            label(drawing, across(tick), bottom + 18, number(tick), "tick", "middle")
        middle = (left + across.stop) / 2
        label(drawing, middle, bottom + 40, fitted(self.score, width - left, 12), "muted", "middle")
        for look, curve in enumerate(self.curves):
            _path(drawing, curve, look, across, up)
        for look, curve in enumerate(self.curves):
            for point in curve.points:
                _mark(drawing, curve, point, look, (across, up))
        return drawing


def _all(estimates: Iterable[Estimate]) -> list[float | None]:
    return [value for one in estimates for value in (one.value, one.low, one.high)]


def _path(drawing: Element, curve: Curve, look: int, across: Scale, up: Scale) -> None:
    steps = [
        f"{across(x):.1f},{up(y):.1f}"
        for point in curve.points
        for x, y in zip(
            drawable([point.score.value]), drawable([point.dependence.value]), strict=False
        )
    ]
    if len(steps) > 1:
        element("polyline", drawing, points=" ".join(steps), class_=f"curve s{look} thin")


def _mark(
    drawing: Element, curve: Curve, point: Point, look: int, scales: tuple[Scale, Scale]
) -> None:
    known = drawable([point.score.value]), drawable([point.dependence.value])
    if not all(known):
        return
    across, up = scales
    x, y = across(known[0][0]), up(known[1][0])
    group = element("g", drawing, class_="mark")
    element("title", group, legible(_tip(curve, point)))
    sides = drawable([point.score.low, point.score.high])
    if len(sides) == 2:
        line(group, across(sides[0]), y, across(sides[1]), y, f"whisker s{look}")
    ends = drawable([point.dependence.low, point.dependence.high])
    if len(ends) == 2:
        line(group, x, up(ends[0]), x, up(ends[1]), f"whisker s{look}")
    element("rect", group, x=x - 9, y=y - 9, width=18, height=18, class_="hit")
    symbol(group, TRUTH if point.chosen else look, x, y, hollow=not point.on_front)


def _tip(curve: Curve, point: Point) -> str:
    said = [f"{curve.name}, strength {number(point.strength)}"]
    said += [f"loss {number(point.score.value)}"]
    said += [f"dependence {number(point.dependence.value)}"]
    said += ["chosen"] if point.chosen else []
    said += [] if point.on_front else ["another strength is better in both"]
    return "\n".join(said)
