"""Held-out deviance along the path of penalties, with what the rules chose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from .multiples import thinned
from .scales import Scale, number, scale
from .svg import Element, document, element, label, line, width_of

_HEIGHT = 220.0
_FAR = 1.2  # of the deviance with no column


@final
@dataclass(frozen=True)
class DevianceCurve:
    """Mean held-out deviance with one standard error, the penalty falling to the right.

    Args:
        lambdas: strengths, (L,).
        mean: held-out deviance at each.
        error: standard errors.
        selected: columns in the model at each.
        chosen: place of each rule's choice.
    """

    lambdas: Sequence[float | None]
    mean: Sequence[float | None]
    error: Sequence[float | None]
    selected: Sequence[float | None]
    chosen: Mapping[str, int]

    def __call__(self, width: float) -> Element:
        """Draw at a width."""
        points = [
            (-math.log10(lam), mean, error or 0.0, int(size or 0))
            for lam, mean, error, size in zip(
                self.lambdas, self.mean, self.error, self.selected, strict=True
            )
            if lam is not None and lam > 0 and mean is not None
        ]
        last_good = [i for i, (_, mean, *_) in enumerate(points) if mean <= _FAR * points[0][1]]
        points = points[: max([*last_good, *self.chosen.values()], default=-1) + 1]
        drawing = document(width, _HEIGHT + 96)
        if not points:
            label(drawing, 10, 30, "no deviance was measured", "muted")
            return drawing
        top, bottom = 52.0, 52.0 + _HEIGHT
        ends = [end for _, mean, error, _ in points for end in (mean - error, mean + error)]
        up = scale(ends, bottom, top, n_ticks=4)
        left, right = 14 + max(width_of(number(tick), 12) for tick in up.ticks), width - 16
        first, last = points[0][0], points[-1][0]
        along = Scale(first, last if last > first else first + 1, left, right)
        for tick in up.ticks:
            line(drawing, left, up(tick), right, up(tick), "grid")
            label(drawing, left - 6, up(tick) + 4, number(tick), "tick", "end")
        for place in thinned(range(len(points)), 6 if width >= 600 else 4):
            x = along(points[place][0])
            anchor = "start" if place == 0 else "end" if x > right - 20 else "middle"
            label(drawing, x, bottom + 18, f"{10 ** -points[place][0]:.2g}", "tick", anchor)
        label(drawing, (left + right) / 2, bottom + 38, "lambda", "muted", "middle")
        self._band(drawing, points, along, up)
        self._rules(drawing, along, (top, bottom))
        path = " ".join(f"{along(x):.1f},{up(mean):.1f}" for x, mean, _, _ in points)
        element("polyline", drawing, points=path, class_="curve held-out")
        _slices(drawing, points, along, (top, bottom))
        return drawing

    def _band(
        self,
        drawing: Element,
        points: Sequence[tuple[float, float, float, int]],
        along: Scale,
        up: Scale,
    ) -> None:
        for x, mean, error, _ in points:
            if error:
                line(drawing, along(x), up(mean - error), along(x), up(mean + error), "grid")

    def _rules(self, drawing: Element, along: Scale, ends: tuple[float, float]) -> None:
        """An upright line for each rule, its name above; names of close lines part."""
        for rule, place in sorted(self.chosen.items(), key=lambda pair: pair[1]):
            lam = self.lambdas[place] if 0 <= place < len(self.lambdas) else None
            if lam is None or lam <= 0:
                continue
            x = along(-math.log10(lam))
            line(drawing, x, ends[0] - 6, x, ends[1], "reference")
            size = self.selected[place]
            told = rule if size is None else f"{rule}: {size:.0f} columns"
            half = width_of(told, 12) / 2
            at = min(max(x, half), along.stop + 10 - half)
            label(drawing, at, 38.0 if rule == "min" else 20.0, told, "muted", "middle")


def _slices(
    drawing: Element,
    points: Sequence[tuple[float, float, float, int]],
    along: Scale,
    ends: tuple[float, float],
) -> None:
    """Upright strips that tell the values of a strength when pointed at."""
    shown = thinned(points, 40)
    centres = [along(x) for x, *_ in shown]
    edges = [(a + b) / 2 for a, b in pairwise(centres)]
    starts, stops = [along.start, *edges], [*edges, along.stop]
    for (x, mean, error, size), centre, start, stop in zip(
        shown, centres, starts, stops, strict=True
    ):
        group = element("g", drawing, class_="mark slice")
        told = f"lambda {10**-x:.3g}\ndeviance {number(mean)} ± {number(error)}\n{size} columns"
        element("title", group, told)
        width, height = max(stop - start, 1.0), ends[1] - ends[0]
        element("rect", group, x=start, y=ends[0], width=width, height=height, class_="hit")
        line(group, centre, ends[0], centre, ends[1], "pointer")
