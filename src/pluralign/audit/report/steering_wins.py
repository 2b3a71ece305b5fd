"""Win, tie and loss as shares of one bar, a row for each target and scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .legend import draw_legend, legend_places
from .scales import percent, percent_tick, scale
from .steering_reading import Wins
from .svg import BOLD, Element, document, element, fitted, label, legible, line
from .svg import width_of as text_width
from .words import interval

LOOKS = ((1, "steered answer wins"), (7, "tie"), (5, "steered answer loses"))

_BAR = 15.0


@final
@dataclass(frozen=True)
class Bar:
    """One row: who was compared, by whom it was judged, and the counts."""

    name: str
    judge: str
    wins: Wins


@final
@dataclass(frozen=True)
class WinBars:
    """Win, tie and loss of the steered against the baseline answers, as shares of prompts."""

    bars: tuple[Bar, ...]

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their bars."""
        wide = width >= 600
        row = 34.0 if wide else 52.0
        longest = max(text_width(_full(bar), BOLD) for bar in self.bars)
        across = scale(
            [0.0, 1.0],
            min(24.0 + longest, 226.0) if wide else 14.0,
            width - (150.0 if wide else 22.0),
            floor=0.0,
            ceiling=1.0,
            n_ticks=4,
        )
        places, above = legend_places(LOOKS, width)
        top = above + 12.0
        bottom = top + row * len(self.bars)
        drawing = document(width, bottom + 44)
        draw_legend(drawing, places)
        for tick in across.ticks:
            line(drawing, across(tick), top, across(tick), bottom, "grid")
            label(drawing, across(tick), bottom + 18, percent_tick(tick), "tick", "middle")
        middle = (across.start + across.stop) / 2
        label(drawing, middle, bottom + 38, "share of prompts", "muted", "middle")
        for place, bar in enumerate(self.bars):
            y = top + row * (place + 1) - _BAR - (row - _BAR) / (2 if wide else 6)
            self._names(drawing, bar, y, (width, wide))
            _parts(drawing, bar, (across.start, across.stop), y)
        half = across(0.5)
        line(drawing, half, top - 4, half, bottom, "reference")
        return drawing

    def _names(self, drawing: Element, bar: Bar, y: float, place: tuple[float, bool]) -> None:
        width, wide = place
        rate = f"{percent(bar.wins.rate.value)}{interval(bar.wins.rate, percent)}"
        if wide:
            label(drawing, 10, y + 12, fitted(_full(bar), 206, BOLD), "item")
            label(drawing, width - 142, y + 12, fitted(rate, 142, 12), "value")
            return
        label(drawing, 10, y - 8, fitted(_full(bar), width - 178, BOLD), "item")
        label(drawing, width - 8, y - 8, rate, "value", "end")


def _full(bar: Bar) -> str:
    return f"{bar.name} · {bar.judge}" if bar.judge else bar.name


def _parts(drawing: Element, bar: Bar, ends: tuple[float, float], y: float) -> None:
    start, stop = ends
    group = element("g", drawing, class_="mark")
    wins = bar.wins
    rate = f"{percent(wins.rate.value)}{interval(wins.rate, percent)} won, ties left out"
    said = f"{_full(bar)}\n{wins.win:,} won, {wins.tie:,} tied, {wins.loss:,} lost\n{rate}"
    element("title", group, legible(said))
    element("rect", group, x=start, y=y - 4, width=stop - start, height=_BAR + 8, class_="hit")
    if not wins.total:
        label(group, start + 4, y + 12, "no value", "muted")
        return
    x = start
    for (look, _), n in zip(LOOKS, (wins.win, wins.tie, wins.loss), strict=True):
        width = (stop - start) * n / wins.total
        if n:
            shape = element("rect", group, x=x, y=y, width=width, height=_BAR)
            shape.set("class", f"bar s{look}")
        x += width
