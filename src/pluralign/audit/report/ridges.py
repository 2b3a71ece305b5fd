"""Densities of predictions by cell, one above another on a common axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .legend import draw_legend, legend_places
from .scales import Scale, drawable, number, scale
from .svg import BOLD, Element, document, element, fitted, label, legible, line

_RISE = 38.0
"""Height in pixels of the highest density of all."""


@final
@dataclass(frozen=True)
class Density:
    """The density of one model's predictions in one cell, at the points of the figure."""

    heights: tuple[float, ...]
    mean: float | None


@final
@dataclass(frozen=True)
class Ridge:
    """One cell: its size and a density for each model."""

    name: str
    n: int | None
    densities: tuple[Density, ...]


@final
@dataclass(frozen=True)
class Ridges:
    """A row for each cell; the first model is a grey ground, later ones are lines over it.

    All rows share both axes, so that shapes compare between cells.

    Args:
        ridges: from top to bottom.
        models: names of the models.
        points: where the densities are taken, ascending.
        axis: what is predicted, with its unit.
    """

    ridges: tuple[Ridge, ...]
    models: tuple[str, ...]
    points: tuple[float, ...]
    axis: str

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their densities."""
        wide = width >= 600
        start, row = (226.0, _RISE + 8) if wide else (14.0, _RISE + 28)
        looks: list[tuple[int | str, str]] = [(7, self.models[0])]
        looks += [(f"s{i - 1}", name) for i, name in enumerate(self.models) if i]
        places, top = legend_places(looks, width)
        bottom = top + row * len(self.ridges) + 6
        fit = scale(self.points, start, width - 24.0, n_ticks=7 if wide else 4)
        ends = self.points[0], self.points[-1]
        ticks = tuple(tick for tick in fit.ticks if ends[0] <= tick <= ends[1])
        across = Scale(*ends, fit.start, fit.stop, ticks)
        drawing = document(width, bottom + 46)
        draw_legend(drawing, places)
        for tick in across.ticks:
            line(drawing, across(tick), top, across(tick), bottom, "grid")
            label(drawing, across(tick), bottom + 18, number(tick), "tick", "middle")
        middle = (across.start + across.stop) / 2
        label(drawing, middle, bottom + 40, fitted(self.axis, width - 20, 12), "muted", "middle")
        highest = max([h for r in self.ridges for d in r.densities for h in d.heights], default=1.0)
        for place, ridge in enumerate(self.ridges):
            base = top + row * (place + 1)
            self._row(drawing, ridge, across, base, _RISE / (highest or 1.0))
            self._names(drawing, ridge, base, wide, width)
        return drawing

    def _row(self, drawing: Element, ridge: Ridge, across: Scale, base: float, unit: float) -> None:
        group = element("g", drawing, class_="mark")
        said = [f"{ridge.name}: {_rows(ridge)}"]
        said += [
            f"{name}: mean {number(density.mean)}"
            for name, density in zip(self.models, ridge.densities, strict=True)
        ]
        element("title", group, legible("\n".join(said)))
        element(
            "rect",
            group,
            x=across.start,
            y=base - _RISE,
            width=across.stop - across.start,
            height=_RISE,
            class_="hit",
        )
        for place, density in enumerate(ridge.densities):
            steps = " ".join(
                f"{across(x):.1f},{base - unit * h:.1f}"
                for x, h in zip(self.points, density.heights, strict=True)
            )
            if place == 0:
                ends = f"{across.start:.1f},{base:.1f} {steps} {across.stop:.1f},{base:.1f}"
                element("polygon", group, points=ends, class_="ground")
            else:
                element("polyline", group, points=steps, class_=f"curve s{place - 1}")
            for mean in drawable([density.mean]):
                class_ = "whisker s7" if place == 0 else f"whisker s{place - 1}"
                line(group, across(mean), base - 7, across(mean), base + 3, class_)
        line(drawing, across.start, base, across.stop, base, "rule")

    def _names(self, drawing: Element, ridge: Ridge, base: float, wide: bool, width: float) -> None:
        if wide:
            label(drawing, 10, base - 18, fitted(ridge.name, 204, BOLD), "name")
            label(drawing, 10, base - 2, _rows(ridge), "muted")
            return
        label(drawing, 10, base - _RISE - 6, fitted(ridge.name, width - 130, BOLD), "name")
        label(drawing, width - 8, base - _RISE - 6, _rows(ridge), "muted", "end")


def _rows(ridge: Ridge) -> str:
    return "size unknown" if ridge.n is None else f"{ridge.n:,} row{'' if ridge.n == 1 else 's'}"
