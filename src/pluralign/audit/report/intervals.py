"""Dots with intervals by row: values of groups, differences, rates.

Wide drawings name a row at its left, narrow ones above its marks, so that text keeps its
size on a phone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .legend import draw_legend, legend_places
from .scales import Format, Scale, drawable, scale
from .svg import BOLD, Element, document, element, fitted, label, legible, line, symbol, width_of

_MARK_HEIGHT = 17.0


@final
@dataclass(frozen=True)
class Mark:
    """One value in a row, with its interval.

    Args:
        series: look of the series: its colour and shape, see ``svg.symbol``.
        value: where the mark stands; ``None`` says that there is none.
        low: lower end of the interval, or ``None``.
        high: upper end of the interval, or ``None``.
        tip: what the mark says when pointed at; the first line is its name.
        text: the value as written beside the mark.
        hollow: draw the outline only.
        before: where the value came from: a grey dot and a line from it to the mark.
    """

    series: int
    value: float | None
    low: float | None
    high: float | None
    tip: str
    text: str = ""
    hollow: bool = False
    before: float | None = None


@final
@dataclass(frozen=True)
class Row:
    """One line of an interval figure: a group with a mark for each series.

    A row without marks is a heading; a row with a ``tag`` is accented; ``ruled`` draws a
    line above the row.
    """

    name: str
    note: str
    marks: tuple[Mark, ...]
    tag: str = ""
    ruled: bool = False

    @property
    def is_heading(self) -> bool:
        """Whether the row only names the rows under it."""
        return not self.marks


@final
@dataclass(frozen=True)
class Intervals:
    """Dots with intervals, one row for each group, one mark for each series.

    Args:
        rows: from top to bottom.
        keys: (look, name) of each series for the legend; a negative look is a hollow mark.
        tick: how a tick is written.
        axis: title of the axis, with its unit.
        reference: a value to compare with (chance, no difference), drawn as a line.
        reference_name: what that line is.
        floor: the axis never goes below.
        ceiling: the axis never goes above.
    """

    rows: tuple[Row, ...]
    keys: tuple[tuple[int, str], ...]
    tick: Format
    axis: str
    reference: float | None = None
    reference_name: str = ""
    floor: float | None = None
    ceiling: float | None = None

    def __call__(self, width: float) -> Element:
        """Draw at a width; below 600 pixels the names stand above their marks."""
        wide = width >= 600
        left = 226.0 if wide else 22.0
        values = [v for row in self.rows for mark in row.marks for v in _ends(mark)]
        across = scale(
            [*values, self.reference],
            left,
            width - 58.0,
            floor=self.floor,
            ceiling=self.ceiling,
            n_ticks=7 if wide else 5,
        )
        places, legend_height = legend_places(self.keys, width)
        top = legend_height + (22.0 if self.reference is not None else 8.0)
        heights = [_row_height(row, wide) for row in self.rows]
        bottom = top + sum(heights)
        drawing = document(width, bottom + 44)
        draw_legend(drawing, places)
        tops = [top + sum(heights[:place]) for place in range(len(heights))]
        for row, y, height in zip(self.rows, tops, heights, strict=True):
            _ground(drawing, row, y, height, width)
        _grid(drawing, across, top, bottom, self.tick, self.axis)
        if self.reference is not None:
            x = across(self.reference)
            line(drawing, x, top - 4, x, bottom, "reference")
            _inside(drawing, x, top - 9, self.reference_name, width, "muted")
        for row, y, height in zip(self.rows, tops, heights, strict=True):
            _row(drawing, row, across, (y, height), width)
        return drawing


def _ends(mark: Mark) -> list[float | None]:
    return [mark.value, mark.low, mark.high, mark.before]


def _row_height(row: Row, wide: bool) -> float:
    if row.is_heading:
        return 34.0
    marks = _MARK_HEIGHT * len(row.marks)
    if not wide:
        return marks + 36.0
    return max(marks + 13.0, 44.0 if row.note and len(row.marks) > 1 else 28.0)


def _ground(drawing: Element, row: Row, y: float, height: float, width: float) -> None:
    """What lies under the grid: the band of an accented row, the line above a ruled one."""
    if row.tag:
        element("rect", drawing, x=0, y=y + 1, width=width, height=height - 2, class_="band")
        element("rect", drawing, x=0, y=y + 1, width=3, height=height - 2, class_="edge")
    if row.ruled:
        line(drawing, 0, y, width, y, "rule")


def _row(
    drawing: Element, row: Row, across: Scale, place: tuple[float, float], width: float
) -> None:
    y, height = place
    group = element("g", drawing, class_="row worst" if row.tag else "row")
    if row.is_heading:
        label(group, 10, y + 22, fitted(row.name, width - 20, BOLD), "heading")
        return
    first = y + (height - _MARK_HEIGHT * len(row.marks)) / 2 + _MARK_HEIGHT / 2
    if width < 600:
        _names_above(group, row, y + 20, width)
        first = y + 38
    elif len(row.marks) > 1:
        _names_stacked(group, row, y + height / 2)
    else:
        _names_in_line(group, row, y + height / 2 + 4, across.start)
    for number, mark in enumerate(row.marks):
        _mark(group, mark, across, first + _MARK_HEIGHT * number)


def _names_above(group: Element, row: Row, y: float, width: float) -> None:
    note = fitted(_note(row), width * 0.46, 12)
    label(group, 10, y, fitted(row.name, width - width_of(note, 12) - 34, BOLD), _name_class(row))
    label(group, width - 8, y, note, _note_class(row), "end")


def _names_stacked(group: Element, row: Row, y: float) -> None:
    note = fitted(_note(row), 204, 12)
    label(group, 10, y - 3 if note else y + 4, fitted(row.name, 204, BOLD), "name")
    label(group, 10, y + 14, note, _note_class(row))


def _names_in_line(group: Element, row: Row, y: float, end: float) -> None:
    note = fitted(_note(row), 110, 12)
    label(group, 10, y, fitted(row.name, end - 44 - width_of(note, 12), BOLD), _name_class(row))
    label(group, end - 22, y, note, _note_class(row), "end")


def _name_class(row: Row) -> str:
    return "name" if len(row.marks) > 1 or row.tag else "item"


def _note(row: Row) -> str:
    return " · ".join(filter(None, (row.tag, row.note)))


def _note_class(row: Row) -> str:
    return "tagged" if row.tag else "muted"


def _mark(parent: Element, mark: Mark, across: Scale, y: float) -> None:
    group = element("g", parent, class_="mark")
    element("title", group, legible(mark.tip))
    if not drawable([mark.value]):
        label(group, across.start + 4, y + 4, "no value", "muted")
        return
    ends = drawable([mark.low, mark.high])
    x = across(drawable([mark.value])[0])
    before = [across(end) for end in drawable([mark.before])]
    for origin in before:
        line(group, origin, y, x, y, "way")
        element("circle", group, cx=origin, cy=y, r=4, class_="origin")
    if len(ends) == 2:
        start, stop = sorted(across(end) for end in ends)
        colour = f"s{mark.series}"
        line(group, start, y, stop, y, f"whisker {colour}")
        for end in (start, stop):
            line(group, end, y - 3.5, end, y + 3.5, f"whisker {colour}")
    else:
        start = stop = x
    start, stop = min([start, *before]), max([stop, *before])
    width = stop - start + 62
    element("rect", group, x=start - 9, y=y - 8.5, width=width, height=17, class_="hit")
    symbol(group, mark.series, x, y, mark.hollow)
    label(group, max(stop, x) + 9, y + 4, mark.text, "value")


def _grid(
    drawing: Element, across: Scale, top: float, bottom: float, tick: Format, axis: str
) -> None:
    for value in across.ticks:
        line(drawing, across(value), top, across(value), bottom, "grid")
        label(drawing, across(value), bottom + 18, tick(value), "tick", "middle")
    middle = (across.start + across.stop) / 2
    width = width_of(axis, 12)
    start = min(middle, across.stop + 54 - width / 2)
    label(drawing, max(start, width / 2), bottom + 38, axis, "muted", "middle")


def _inside(drawing: Element, x: float, y: float, text: str, width: float, class_: str) -> None:
    half = width_of(text, 12) / 2
    label(drawing, min(max(x, half), width - half), y, text, class_, "middle")
