"""Small multiples of curves over steps or another quantity, a panel for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, final

from .legend import draw_legend, legend_places
from .scales import Format, Scale, scale
from .svg import BOLD, Element, document, element, fitted, label, line, width_of

T = TypeVar("T")

_RIGHT = 16.0
"""Room for half of the last tick label."""


@final
@dataclass(frozen=True)
class Line:
    """One curve; ``look`` is a class of the stylesheet (``chosen``, ``worst``, ``s0``...)."""

    name: str
    look: str
    points: tuple[tuple[float, float], ...]


@final
@dataclass(frozen=True)
class Panel:
    """One of several small plots that share their form."""

    title: str
    lines: tuple[Line, ...]


@final
@dataclass(frozen=True)
class Multiples:
    """Small multiples: the same curves for each model, side by side.

    Args:
        panels: one for each model.
        legend: (look, name) of the kinds of curve.
        tick: how a tick of the vertical axis is written.
        shared: whether all panels have one vertical scale.
        reference: a value to compare with, drawn as a line.
        floor: the vertical axis never goes below.
        ceiling: the vertical axis never goes above.
        tip: how a value is written when pointed at (default: as a tick).
        across: title of the horizontal axis, with its unit.
    """

    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...]
    tick: Format
    shared: bool = True
    reference: float | None = None
    floor: float | None = None
    ceiling: float | None = None
    tip: Format | None = None
    across: str = "step"

    def __call__(self, width: float) -> Element:
        """Draw at a width: up to three panels in a row on a wide page, one on a phone."""
        columns = min(len(self.panels), 3) if width >= 600 else 1
        cell = (width - 28.0 * (columns - 1)) / columns
        places, legend_height = legend_places(list(self.legend), width)
        height = 216.0
        lines = -(-len(self.panels) // columns)
        drawing = document(width, legend_height + lines * height)
        draw_legend(drawing, places)
        for number, panel in enumerate(self.panels):
            row, column = divmod(number, columns)
            x, y = column * (cell + 28.0), legend_height + row * height
            self._panel(drawing, panel, x, y, cell, height)
        return drawing

    def _panel(
        self, drawing: Element, panel: Panel, x: float, y: float, cell: float, height: float
    ) -> None:
        top, bottom = y + 34.0, y + height - 44.0
        mine = [line for other in self.panels for line in other.lines]
        lines = mine if self.shared else panel.lines
        values = [value for line in lines for _, value in line.points]
        up = scale(
            [*values, self.reference],
            bottom,
            top,
            floor=self.floor,
            ceiling=self.ceiling,
            n_ticks=4,
        )
        steps = [step for line in panel.lines for step, _ in line.points]
        right = x + cell - _RIGHT
        left = x + 8 + max(width_of(self.tick(tick), 12) for tick in up.ticks)
        along = scale([*steps, 0.0], left, right, floor=0.0, n_ticks=4)
        label(drawing, x, y + 18, fitted(panel.title, cell, BOLD), "name")
        for tick in up.ticks:
            line(drawing, left, up(tick), right, up(tick), "grid")
            label(drawing, left - 6, up(tick) + 4, self.tick(tick), "tick", "end")
        for tick in along.ticks:
            label(drawing, along(tick), bottom + 18, f"{tick:,.10g}", "tick", "middle")
        label(drawing, (left + right) / 2, bottom + 36, self.across, "muted", "middle")
        if self.reference is not None:
            at = up(self.reference)
            line(drawing, left, at, right, at, "reference")
        for curve in panel.lines:
            _curve(drawing, curve, along, up)
        spoken = f"{panel.title}, {self.across.partition(',')[0]}"
        _slices(drawing, panel.lines, along, (top, bottom), spoken, self.tip or self.tick)


def _curve(drawing: Element, curve: Line, along: Scale, up: Scale) -> None:
    places = [(along(step), up(value)) for step, value in curve.points]
    if len(places) == 1:
        x, y = places[0]
        element("circle", drawing, cx=x, cy=y, r=3, class_=f"point {curve.look}")
        return
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    element("polyline", drawing, points=path, class_=f"curve {curve.look}")


_MAX_SLICES = 24


def _slices(
    drawing: Element,
    lines: Sequence[Line],
    along: Scale,
    ends: tuple[float, float],
    spoken: str,
    write: Format,
) -> None:
    """Upright strips that say all values of a step when pointed at."""
    steps = thinned(sorted({step for line in lines for step, _ in line.points}), _MAX_SLICES)
    values = [(line.name, dict(line.points)) for line in lines]
    centres = [along(step) for step in steps]
    edges = [(a + b) / 2 for a, b in pairwise(centres)]
    starts, stops = [along.start, *edges], [*edges, along.stop]
    for step, x, start, stop in zip(steps, centres, starts, stops, strict=False):
        group = element("g", drawing, class_="mark slice")
        said = [f"{name}: {write(at[step])}" for name, at in values if step in at]
        element("title", group, "\n".join([f"{spoken} {step:,.4g}", *said[:12]]))
        element(
            "rect",
            group,
            x=start,
            y=ends[0],
            width=max(stop - start, 1.0),
            height=ends[1] - ends[0],
            class_="hit",
        )
        line(group, x, ends[0], x, ends[1], "pointer")


def thinned(items: Sequence[T], limit: int) -> list[T]:
    """At most ``limit`` items, evenly chosen, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    last = len(items) - 1
    return [items[round(number * last / (limit - 1))] for number in range(limit)]
