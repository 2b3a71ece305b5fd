"""Flip-threshold curves: how many pairs are right once each has reached a loss, by group."""

from __future__ import annotations

from collections.abc import Sequence

from .behind import Bins, Histogram
from .captions import THRESHOLDS
from .evidence import curve_table, legend_of
from .multiples import Line, Multiples, Panel
from .parts import Figure, make_figure
from .reading import Run
from .scales import percent, percent_tick
from .svg import isolated

_AXIS = "loss reached by each pair, nats"
_LEGEND = (("worst", "worst-off group"), ("all", "all pairs"), ("rest", "other groups"))


def threshold_figure(shown: Sequence[tuple[str, Histogram]], run: Run) -> Figure:
    """A panel for each title and histogram of flip thresholds, a curve for each group."""
    worst = _worst(run)
    panels = tuple(Panel(isolated(title), _lines(found, worst)) for title, found in shown)
    draw = Multiples(
        panels,
        legend_of(panels, _LEGEND),
        percent_tick,
        floor=0.0,
        ceiling=1.0,
        tip=percent,
        across=_AXIS,
    )
    title = "Pairs ranked rightly, by the loss that each reaches"
    table = curve_table("Flip thresholds", panels, percent, "loss, nats")
    return make_figure("threshold-figure", title, [THRESHOLDS], draw, table)


def _worst(run: Run) -> str | None:
    """The worst-off group of the last model, which is the one that was tuned."""
    for model in reversed(run.models):
        frame = model.frames.get("ranking_accuracy")
        if frame is not None and frame.worst is not None:
            return frame.worst.name
    return None


def _lines(found: Histogram, worst: str | None) -> tuple[Line, ...]:
    groups = sorted(found.groups, key=lambda bins: bins.name != worst)
    lines = [
        Line(isolated(bins.name), "worst" if bins.name == worst else "rest", _right(bins, found))
        for bins in groups
        if bins.n
    ]
    overall = Line("all pairs", "all", _right(found.overall, found))
    at = 1 if lines and lines[0].look == "worst" else 0
    return (*lines[:at], overall, *lines[at:])


def _right(bins: Bins, found: Histogram) -> tuple[tuple[float, float], ...]:
    """At the lower edge of each bin, the share of pairs whose threshold is not below it."""
    left = list(bins.counts)
    return tuple(
        (edge, sum(left[place:]) / bins.n) for place, edge in enumerate(found.edges[: len(left)])
    )
