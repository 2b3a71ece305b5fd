"""A table of values as tinted cells: how each head does on each domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from .scales import Format, drawable
from .svg import BOLD, Element, document, element, fitted, label, legible
from .svg import width_of as text_width

_ROW = 30.0
_STRONGEST = 0.5
"""Opacity of the best value: text over it stays legible in light and dark."""


@final
@dataclass(frozen=True)
class HeatRow:
    """One domain with a value for each column; ``None`` where there is none."""

    name: str
    note: str
    values: tuple[float | None, ...]


@final
@dataclass(frozen=True)
class Heat:
    """Rows by columns, tinted by value from the least to the greatest; each row's best is framed.

    Args:
        columns: names; where one does not fit over its column, numbers stand for all.
        rows: from top to bottom.
        write: how a value is written.
    """

    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    write: Format

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their cells."""
        wide = width >= 600
        left, row = (226.0, _ROW) if wide else (10.0, _ROW + 24)
        cell = (width - left - 8) / len(self.columns)
        known = drawable([v for r in self.rows for v in r.values])
        low, high = min(known, default=0.0), max(known, default=1.0)
        texts = [self.write(value) for value in known]
        roomy = max((text_width(text, 12) for text in texts), default=0.0) <= cell - 4
        drawing = document(width, 30 + row * len(self.rows) + 6)
        for place, name in enumerate(self.heads(cell)):
            x = left + cell * (place + 0.5)
            if name:
                label(drawing, x, 18, name, "muted", "middle")
        for number, one in enumerate(self.rows):
            y = 30 + row * number + (0 if wide else 24)
            self._names(drawing, one, y, wide, width)
            best = max(drawable(one.values), default=None)
            for place, value in enumerate(one.values):
                x = left + cell * place
                share = 0.0 if value is None or high == low else (value - low) / (high - low)
                tint = 0.0 if value is None else 0.06 + (_STRONGEST - 0.06) * share
                box = (x, y, cell, _ROW)
                said = f"{one.name} · {self.columns[place]}\n{self.write(value)}"
                group = _cell(drawing, box, tint, value is not None and value == best, said)
                if roomy:
                    label(group, x + cell / 2, y + 19, self.write(value), "cell", "middle")
        return drawing

    def heads(self, cell: float) -> list[str]:
        """Names over the columns, or their numbers where a name does not fit."""
        if all(text_width(name, 12) <= cell - 4 for name in self.columns):
            return list(self.columns)
        widest = text_width(str(len(self.columns)), 12) + 6
        every = next(step for step in (1, 2, 5, 10, 20, 50, 1000) if step * cell >= widest)
        numbers = range(1, len(self.columns) + 1)
        return [str(n) if n == 1 or n % every == 0 else "" for n in numbers]

    def _names(self, drawing: Element, row: HeatRow, y: float, wide: bool, width: float) -> None:
        if wide:
            room = 204 - text_width(row.note, 12) - 10
            label(drawing, 10, y + 19, fitted(row.name, room, BOLD), "name")
            label(drawing, 214, y + 19, row.note, "muted", "end")
            return
        room = width - text_width(row.note, 12) - 34
        label(drawing, 10, y - 7, fitted(row.name, room, BOLD), "name")
        label(drawing, width - 8, y - 7, row.note, "muted", "end")


def _cell(
    drawing: Element, box: tuple[float, float, float, float], tint: float, best: bool, said: str
) -> Element:
    x, y, width, height = box
    group = element("g", drawing, class_="mark")
    element("title", group, legible(said))
    place: dict[str, Any] = {"x": x + 1, "y": y + 1, "width": width - 2, "height": height - 2}
    element("rect", group, **place, class_="hit")
    element("rect", group, **place, class_="tint", fill_opacity=tint)
    if best:
        element("rect", group, **place, class_="best")
    return group
