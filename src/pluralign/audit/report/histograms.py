"""Histograms above one another on one axis, a panel for each model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from .scales import Format, Scale, percent, scale
from .svg import BOLD, Element, document, element, fitted, label, legible, line, width_of

_HEIGHT = 64.0


@final
@dataclass(frozen=True)
class Panel:
    """One histogram.

    Args:
        title: whose it is.
        note: a figure about it, such as its median.
        look: look of the bars at or above the reference, see ``svg.symbol``; those below
            are grey.
        counts: one number for each bin.
    """

    title: str
    note: str
    look: int
    counts: tuple[float, ...]


@final
@dataclass(frozen=True)
class Histograms:
    """Histograms on a common axis; each is as high as its highest bar, so that shapes show.

    Args:
        panels: from top to bottom.
        edges: of the bins, one more than there are counts.
        tick: how an edge is written.
        axis: title of the axis, with its unit.
        reference: where right begins: an edge of the bins, drawn as a line.
        reference_name: what lies from there on.
    """

    panels: tuple[Panel, ...]
    edges: tuple[float, ...]
    tick: Format
    axis: str
    reference: float
    reference_name: str

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their bars."""
        wide = width >= 600
        start, above = (226.0, 12.0) if wide else (14.0, 34.0)
        across = scale(self.edges, start, width - 24.0, n_ticks=7 if wide else 4)
        across = Scale(
            self.edges[0],
            self.edges[-1],
            across.start,
            across.stop,
            tuple(t for t in across.ticks if self.edges[0] <= t <= self.edges[-1]),
        )
        top, row = 22.0, _HEIGHT + above
        bottom = top + row * len(self.panels)
        drawing = document(width, bottom + 44)
        self._axis(drawing, across, top, bottom, width)
        for place, panel in enumerate(self.panels):
            base = top + row * (place + 1)
            self._names(drawing, panel, base, wide, width)
            self._bars(drawing, panel, across, base)
        return drawing

    def _axis(
        self, drawing: Element, across: Scale, top: float, bottom: float, width: float
    ) -> None:
        for value in across.ticks:
            line(drawing, across(value), top, across(value), bottom, "grid")
            label(drawing, across(value), bottom + 18, self.tick(value), "tick", "middle")
        middle = (across.start + across.stop) / 2
        label(drawing, middle, bottom + 38, fitted(self.axis, width, 12), "muted", "middle")
        at = across(self.reference)
        line(drawing, at, top - 4, at, bottom, "reference")
        half = width_of(self.reference_name, 12) / 2
        label(
            drawing,
            min(max(at, half), width - half),
            top - 9,
            self.reference_name,
            "muted",
            "middle",
        )

    def _names(self, drawing: Element, panel: Panel, base: float, wide: bool, width: float) -> None:
        if wide:
            label(drawing, 10, base - 26, fitted(panel.title, 204, BOLD), "name")
            label(drawing, 10, base - 9, fitted(panel.note, 204, 12), "muted")
            return
        y = base - _HEIGHT - 10
        room = width - width_of(panel.note, 12) - 26
        label(drawing, 10, y, fitted(panel.title, room, BOLD), "name")
        label(drawing, width - 8, y, panel.note, "muted", "end")

    def _bars(self, drawing: Element, panel: Panel, across: Scale, base: float) -> None:
        total, most = sum(panel.counts), max(panel.counts, default=0.0)
        for (low, high), n in zip(pairwise(self.edges), panel.counts, strict=True):
            if not n:
                continue
            group = element("g", drawing, class_="mark")
            said = f"{self.tick(low)} to {self.tick(high)}\n{n:,.0f} pairs, {percent(n / total)}"
            element("title", group, legible(f"{panel.title}: {said}"))
            x, stop = across(low), across(high)
            height = max(_HEIGHT * n / most, 0.75)
            # A bin is right from the reference on; rounding may have moved its lower end.
            right = (low + high) / 2 > self.reference
            x, width = x + 0.5, max(stop - x - 1, 0.75)
            whole = base - _HEIGHT
            element("rect", group, x=x, y=whole, width=width, height=_HEIGHT, class_="hit")
            look = f"bar s{panel.look}" if right else "bar s7"
            element("rect", group, x=x, y=base - height, width=width, height=height, class_=look)
        line(drawing, across.start, base, across.stop, base, "rule")
