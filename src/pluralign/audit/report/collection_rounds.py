"""Money by round: for each group a row of bars, one for each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .scales import number
from .svg import BOLD, Element, document, element, fitted, label, legible, line, width_of

_BAR = 34.0
_MOST_TICKS = 12


@final
@dataclass(frozen=True)
class Purchases:
    """What each round bought from one group: samples and money, and all of it."""

    name: str
    samples: tuple[float, ...]
    money: tuple[float, ...]
    total: str


@final
@dataclass(frozen=True)
class Rounds:
    """Rows of bars over rounds on one scale of money, so that rows can be compared.

    Args:
        rows: from top to bottom.
        names: of the rounds.
    """

    rows: tuple[Purchases, ...]
    names: tuple[str, ...]

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their bars."""
        wide = width >= 600
        row = _BAR + (14.0 if wide else 32.0)
        left, right = (226.0, width - 150.0) if wide else (14.0, width - 14.0)
        top, bottom = 10.0, 10.0 + row * len(self.rows)
        most = max((spent for one in self.rows for spent in one.money), default=0.0) or 1.0
        step = (right - left) / max(len(self.names), 1)
        drawing = document(width, bottom + 48)
        for place, one in enumerate(self.rows):
            base = top + row * (place + 1) - 6
            group = element("g", drawing, class_="row")
            self._name(group, one, base, (width, wide))
            line(group, left, base, right, base, "grid")
            for at, money in enumerate(one.money):
                self._bar(group, one, at, (left + step * at, step, base, money / most))
        self._axis(drawing, left, step, bottom)
        return drawing

    def _name(self, group: Element, one: Purchases, base: float, place: tuple[float, bool]) -> None:
        width, wide = place
        if wide:
            label(group, 10, base - 10, fitted(one.name, 200, BOLD), "item")
            label(group, width - 138, base - 10, fitted(one.total, 136, 12), "value")
            return
        room = width - width_of(one.total, 12) - 34
        label(group, 10, base - _BAR - 8, fitted(one.name, room, BOLD), "item")
        label(group, width - 8, base - _BAR - 8, one.total, "value", "end")

    def _bar(
        self,
        parent: Element,
        one: Purchases,
        place: int,
        shape: tuple[float, float, float, float],
    ) -> None:
        x, step, base, share = shape
        group = element("g", parent, class_="mark")
        bought = f"{number(one.samples[place])} bought for {number(one.money[place])}"
        element("title", group, legible(f"{one.name} · {self.names[place]}\n{bought}"))
        element("rect", group, x=x, y=base - _BAR, width=step, height=_BAR, class_="hit")
        height = max(_BAR * share, 1.0 if share > 0 else 0.0)
        gap, y = min(step * 0.15, 3.0), base - height
        wide = max(step - 2 * gap, 0.5)
        element("rect", group, x=x + gap, y=y, width=wide, height=height, class_="bar s0")

    def _axis(self, drawing: Element, left: float, step: float, bottom: float) -> None:
        widest = max((width_of(name, 12) for name in self.names), default=0.0) + 10
        every = max(-(-len(self.names) // _MOST_TICKS), -int(-widest // step))
        for place in range(0, len(self.names), max(every, 1)):
            name = self.names[place]
            half = width_of(name, 12) / 2
            x = max(left + step * (place + 0.5), half + 2)
            label(drawing, x, bottom + 14, name, "tick", "middle")
        middle = left + step * len(self.names) / 2
        label(drawing, middle, bottom + 36, "round", "muted", "middle")
