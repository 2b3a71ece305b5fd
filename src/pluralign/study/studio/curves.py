"""A drawing of every group's score over all angles, with the direction that is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ...audit.report.legend import draw_legend, legend_places
from ...audit.report.scales import Scale, number, scale, ticks_alike
from ...audit.report.svg import Element, document, element, label, line, width_of
from ...steer.sphere import Floats
from .turning import EVERYONE

_HEIGHT = 210.0


@final
@dataclass(frozen=True, eq=False)
class GroupCurves:
    """Score of the best candidates by angle, a curve for each group.

    Args:
        angles: degrees, (a,).
        curves: scores (a,) by group; see :func:`~pluralign.study.studio.turning.profile`.
        at: the angle looked at.
        worst: the group that gets least there; accented.
        targets: angles that the run steered to, as strokes on the axis.
    """

    angles: Floats
    curves: Mapping[str, Floats]
    at: float
    worst: str
    targets: Sequence[float]

    def __call__(self, width: float) -> Element:
        """Draw at a width."""
        places, above = legend_places(self._keys(), width)
        values = [value for curve in self.curves.values() for value in curve.tolist()]
        top, bottom = above + 24.0, above + 24.0 + _HEIGHT
        up = scale(values, bottom, top, n_ticks=4)
        write = ticks_alike(up.ticks)
        left = 14 + max(width_of(write(tick), 12) for tick in up.ticks)
        ticks = scale(self.angles.tolist(), left, width - 20, n_ticks=8)
        along = Scale(self.angles[0], self.angles[-1], left, width - 20, ticks.ticks)
        drawing = document(width, bottom + 52)
        draw_legend(drawing, places)
        label(drawing, 4, top - 10, "mean score along the direction", "muted")
        for tick in up.ticks:
            line(drawing, left, up(tick), width - 20, up(tick), "grid")
            label(drawing, left - 6, up(tick) + 4, write(tick), "tick", "end")
        for tick in along.ticks:
            if along.low <= tick <= along.high:
                label(drawing, along(tick), bottom + 20, f"{number(tick)}°", "tick", "middle")
        for angle in self.targets:
            line(drawing, along(angle), bottom, along(angle), bottom + 6, "rule")
        label(drawing, (left + width) / 2, bottom + 42, "direction, degrees", "muted", "middle")
        line(drawing, along(self.at), top, along(self.at), bottom, "reference")
        # The accented curve last, so that it lies on top.
        for name in sorted(self.curves, key=lambda name: name == self.worst):
            self._curve(drawing, name, along, up)
        return drawing

    def _keys(self) -> list[tuple[str, str]]:
        if len(self.curves) == 1:
            return []
        keys = [("worst", self.worst), ("all", EVERYONE)]
        return [*keys, ("rest", "other groups")] if len(self.curves) > 3 else keys

    def _curve(self, drawing: Element, name: str, along: Scale, up: Scale) -> None:
        look = "all" if name == EVERYONE else "worst" if name == self.worst else "rest"
        pairs = zip(self.angles.tolist(), self.curves[name].tolist(), strict=True)
        points = " ".join(f"{along(x):.1f},{up(y):.1f}" for x, y in pairs)
        group = element("g", drawing, class_="mark")
        element("title", group, name)
        element("polyline", group, points=points, class_=f"curve {look}")
