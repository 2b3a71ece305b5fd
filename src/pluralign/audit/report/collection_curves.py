"""Learning curves by group: measured losses, the fitted curve, and where the group stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from .collection_reading import Group, Measured
from .scales import Scale, number, scale
from .svg import BOLD, ESTIMATE, Element, document, element, fitted, label, legible, line, symbol
from .svg import width_of as text_width

_HEIGHT = 216.0
_BETWEEN = 28.0
_STEPS = 48


@final
@dataclass(frozen=True)
class Curves:
    """A panel for each group; all share the axis of losses, samples on a logarithmic one."""

    groups: tuple[Group, ...]

    def __call__(self, width: float) -> Element:
        """Draw at a width: up to three panels in a row on a wide page, one on a phone."""
        columns = min(len(self.groups), 3) if width >= 600 else 1
        cell = (width - _BETWEEN * (columns - 1)) / columns
        rows = -(-len(self.groups) // columns)
        drawing = document(width, _HEIGHT * rows)
        values = [value for group in self.groups for value in _losses(group)]
        for place, group in enumerate(self.groups):
            row, column = divmod(place, columns)
            up = scale(values, _HEIGHT * (row + 1) - 44, _HEIGHT * row + 36, n_ticks=4)
            _panel(drawing, group, up, (column * (cell + _BETWEEN), cell))
        return drawing


def drawn_over(group: Group) -> tuple[float, float] | None:
    """The sizes between which a group's panel is drawn; none without curve and points."""
    sizes = [point.n for point in group.points]
    if group.worth is not None and group.worth > 0:
        sizes.append(group.worth)
    if not sizes:
        return None
    first, last = min(sizes), max(sizes)
    return first if group.points else last / 8, 2 * last


def _losses(group: Group) -> list[float | None]:
    over = drawn_over(group)
    found: list[float | None] = []
    if over is not None:
        found += [group.loss_at(n) for n in over]
    for point in group.points:
        found += [point.loss - _half(point), point.loss + _half(point)]
    return found


def _half(point: Measured) -> float:
    return 1.96 * (point.error or 0.0)


def _panel(drawing: Element, group: Group, up: Scale, place: tuple[float, float]) -> None:
    x, cell = place
    top, bottom = up.stop, up.start
    left = x + 8 + max(text_width(number(tick), 12) for tick in up.ticks)
    right = x + cell - 18
    label(drawing, x, top - 16, fitted(group.name, cell - 8, BOLD), "name")
    for tick in up.ticks:
        line(drawing, left, up(tick), right, up(tick), "grid")
        label(drawing, left - 6, up(tick) + 4, number(tick), "tick", "end")
    label(drawing, (left + right) / 2, bottom + 36, "samples", "muted", "middle")
    over = drawn_over(group)
    if over is None:
        label(drawing, left + 4, top + 16, "not measured", "muted")
        return
    across = Scale(math.log(over[0]), math.log(over[1]), left, right)
    for size in round_sizes(over, right - left):
        label(drawing, across(math.log(size)), bottom + 18, number(size), "tick", "middle")
    if group.worth is not None and group.worth > 0:
        at = across(math.log(group.worth))
        line(drawing, at, top, at, bottom, "reference")
        label(drawing, at, top + 10, "now", "muted", "end" if at > right - 40 else None)
    _curve(drawing, group, over, across, up)
    for point in group.points:
        _point(drawing, group, point, across(math.log(point.n)), up)


def _curve(
    drawing: Element, group: Group, over: tuple[float, float], across: Scale, up: Scale
) -> None:
    ratio = over[1] / over[0]
    sizes = [over[0] * ratio ** (step / _STEPS) for step in range(_STEPS + 1)]
    known = [(n, loss) for n in sizes if (loss := group.loss_at(n)) is not None]
    if known:
        path = " ".join(f"{across(math.log(n)):.1f},{up(loss):.1f}" for n, loss in known)
        element("polyline", drawing, points=path, class_="curve held-out")


def _point(drawing: Element, group: Group, point: Measured, x: float, up: Scale) -> None:
    mark = element("g", drawing, class_="mark")
    error = "" if point.error is None else f", standard error {number(point.error)}"
    fitted_loss = group.loss_at(point.n)
    said = f"{group.name}\n{number(point.n)} samples: loss {number(point.loss)}{error}"
    element("title", mark, legible(f"{said}\nby the curve {number(fitted_loss)}"))
    low, high = up(point.loss - _half(point)), up(point.loss + _half(point))
    if low != high:
        line(mark, x, low, x, high, f"whisker s{ESTIMATE}")
    element("rect", mark, x=x - 6, y=up(point.loss) - 12, width=12, height=24, class_="hit")
    symbol(mark, ESTIMATE, x, up(point.loss))


def round_sizes(over: tuple[float, float], room: float) -> Sequence[float]:
    """Round sizes between the ends, as many as there is room for."""
    decades = range(math.floor(math.log10(over[0])), math.ceil(math.log10(over[1])) + 1)
    kept: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5)):
        sizes = [step * 10.0**decade for decade in decades for step in steps]
        found = [size for size in sizes if over[0] <= size <= over[1]]
        span = math.log(over[1] / over[0])
        gaps = [
            room * math.log(b / a) / span
            - (text_width(number(a), 12) + text_width(number(b), 12)) / 2
            for a, b in pairwise(found)
        ]
        if found and min(gaps, default=99.0) > 8:
            kept = found
    return kept or [over[0], over[1]]
