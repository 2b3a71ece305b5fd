"""The direction map: score by angle for both arms, and where the chosen answers came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import final

from .fields import Estimate
from .legend import draw_legend, legend_places
from .scales import Scale, alike, drawable, number, scale, ticks_alike
from .steering_reading import Near, Target
from .svg import ASSUMED, Element, document, element, fitted, label, legible, line, symbol
from .svg import width_of as text_width
from .words import interval

STEERED, BASELINE = 0, 3
"""Looks of the two arms."""

ARMS = ((STEERED, "steered, best of its neighbours"), (BASELINE, "best of k at the target"))

_HEIGHT = 250.0
_LANE = 24.0
_LARGEST = 9.0
"""Radius in pixels of a neighbour from which every answer was chosen."""


@final
@dataclass(frozen=True)
class DirectionMap:
    """Score over angle, and under it a lane for each target with its neighbours.

    Args:
        targets: of two attributes, each with its angle, in the order of angles.
        cone: first and last trained angle, shaded, if known.
    """

    targets: tuple[Target, ...]
    cone: tuple[float, float] | None

    def __call__(self, width: float) -> Element:
        """Draw at a width; both parts share the axis of angles."""
        up = scale(self._scores(), 0.0, 1.0, n_ticks=5)
        places, above = legend_places(ARMS, width)
        names = [text_width(target.name) for target in self.targets]
        write = ticks_alike(up.ticks)
        left = 22 + max([text_width(write(tick), 12) for tick in up.ticks] + names)
        across = scale(self._angles(), left, width - 22.0, n_ticks=9 if width >= 600 else 4)
        top = above + 30.0
        bottom = top + _HEIGHT
        room = 10.0 if self.cone is None else 30.0  # for the name of the shaded angles
        first = bottom + 66.0
        last = first + _LANE * len(self.targets)
        drawing = document(width, last + 50)
        draw_legend(drawing, places)
        self._shade(drawing, across, (top, bottom), named=True)
        self._shade(drawing, across, (first, last), named=False)
        up = Scale(up.low, up.high, bottom - 14, top + room, up.ticks)
        label(drawing, 4, top - 12, "mean score along the target", "muted")
        self._frame(drawing, across, up, (top, bottom))
        for arm, (look, name) in enumerate(ARMS):
            self._arm(drawing, across, up, (arm, look, name))
        label(drawing, 4, first - 20, "where the chosen answers came from", "muted")
        for place, target in enumerate(self.targets):
            _lane(drawing, target, across, first + _LANE * (place + 0.5))
        _ticks(drawing, across, last)
        label(drawing, (left + width) / 2, last + 40, "direction, degrees", "muted", "middle")
        return drawing

    def _scores(self) -> list[float | None]:
        arms = [
            arm for target in self.targets for arm in (target.outcome.steered, _baseline(target))
        ]
        return [value for arm in arms for value in (arm.value, arm.low, arm.high)]

    def _angles(self) -> list[float]:
        centres = [angle for target in self.targets if (angle := target.angle) is not None]
        near = [
            target.angle + near.angle
            for target in self.targets
            if target.angle is not None
            for near in target.near
        ]
        return [*centres, *near, *(self.cone or ())]

    def _shade(
        self, drawing: Element, across: Scale, ends: tuple[float, float], *, named: bool
    ) -> None:
        if self.cone is None:
            return
        start, stop = (across(angle) for angle in self.cone)
        top, bottom = ends
        width = max(stop - start, 3.0)
        element("rect", drawing, x=start, y=top, width=width, height=bottom - top, class_="band")
        name = "trained directions"
        half = text_width(name, 12) / 2
        if named and 2 * half < width:
            label(drawing, start + width / 2, top + 14, name, "muted", "middle")

    def _frame(self, drawing: Element, across: Scale, up: Scale, ends: tuple[float, float]) -> None:
        write = ticks_alike(up.ticks)
        for tick in up.ticks:
            line(drawing, across.start, up(tick), across.stop, up(tick), "grid")
            label(drawing, across.start - 10, up(tick) + 4, write(tick), "tick", "end")
        line(drawing, across.start, ends[1], across.stop, ends[1], "rule")
        _ticks(drawing, across, ends[1])

    def _arm(self, drawing: Element, across: Scale, up: Scale, arm: tuple[int, int, str]) -> None:
        which, look, name = arm
        take: Callable[[Target], Estimate] = _baseline if which else _steered
        shift = 5.0 * which - 2.5
        path: list[str] = []
        for target in self.targets:
            for value, angle in zip(
                drawable([take(target).value]), drawable([target.angle]), strict=False
            ):
                path.append(f"{across(angle) + shift:.1f},{up(value):.1f}")
        if len(path) > 1:
            element("polyline", drawing, points=" ".join(path), class_=f"curve s{look}")
        for target in self.targets:
            tip = f"{target.name} · {name}\n{_told(take(target))}"
            if not which:
                tip += f"\ngain {_told(target.outcome.gain)}"
            _point(drawing, across(target.angle or 0.0) + shift, up, (take(target), look, tip))


def _steered(target: Target) -> Estimate:
    return target.outcome.steered


def _baseline(target: Target) -> Estimate:
    return target.outcome.baseline


def _told(estimate: Estimate) -> str:
    write = alike((estimate.value, estimate.low, estimate.high))
    return f"{write(estimate.value)}{interval(estimate, write)}"


def _ticks(drawing: Element, across: Scale, y: float) -> None:
    for tick in across.ticks:
        label(drawing, across(tick), y + 18, f"{number(tick)}°", "tick", "middle")


def _point(drawing: Element, x: float, up: Scale, what: tuple[Estimate, int, str]) -> None:
    estimate, look, tip = what
    for value in drawable([estimate.value]):
        group = element("g", drawing, class_="mark")
        element("title", group, legible(tip))
        ends = drawable([estimate.low, estimate.high])
        if len(ends) == 2:
            low, high = sorted(map(up, ends))
            line(group, x, low, x, high, f"whisker s{look}")
            for end in (low, high):
                line(group, x - 3, end, x + 3, end, f"whisker s{look}")
        element("rect", group, x=x - 5, y=up(value) - 16, width=10, height=32, class_="hit")
        symbol(group, look, x, up(value))


def _lane(drawing: Element, target: Target, across: Scale, y: float) -> None:
    centre = target.angle or 0.0
    room = across.start - 20
    label(drawing, across.start - 14, y + 4, fitted(target.name, room), "item", "end")
    line(drawing, across.start, y, across.stop, y, "grid")
    x = across(centre)
    line(drawing, x, y - 9, x, y + 9, "reference")
    total = sum(near.chosen for near in target.near)
    for near in target.near:
        _neighbour(drawing, (target, near), total, across(centre + near.angle), y)


def _neighbour(drawing: Element, what: tuple[Target, Near], total: int, x: float, y: float) -> None:
    target, near = what
    group = element("g", drawing, class_="mark")
    said = [f"target {target.name}, neighbour at {number((target.angle or 0.0) + near.angle)}°"]
    said.append(f"chosen for {near.chosen:,} of {total:,} prompts")
    if near.mean is not None:
        error = "" if near.error is None else f", standard error {number(near.error)}"
        said.append(f"mean of its candidates {number(near.mean)}{error}")
    element("title", group, legible("\n".join(said)))
    element("rect", group, x=x - 6, y=y - 10, width=12, height=20, class_="hit")
    radius = _LARGEST * sqrt(near.chosen / total) if total else 0.0
    look = f"dot bar s{STEERED}" if near.chosen else f"dot s{ASSUMED} hollow"
    element("circle", group, cx=x, cy=y, r=max(radius, 2.0), class_=look)
