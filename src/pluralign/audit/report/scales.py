"""From values to pixels and to words: domains, ticks, number formats.

A scale never fails: equal values, one value, no value at all and values beyond
drawing each give a usable axis, because a report must not break on odd results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

_BEYOND_DRAWING = 1e30
"""Larger magnitudes are left out of a figure (they stay in its table); smaller spans
than one over it count as none."""


@final
@dataclass(frozen=True)
class Scale:
    """A linear map of ``[low, high]`` to pixels ``[start, stop]``, with its ticks."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside the domain land outside the range."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def drawable(values: Iterable[float | None]) -> list[float]:
    """The values that a figure can show: present, finite, of a drawable size."""
    return [
        value
        for value in values
        if value is not None and math.isfinite(value) and abs(value) < _BEYOND_DRAWING
    ]


def scale(
    values: Iterable[float | None],
    start: float,
    stop: float,
    *,
    floor: float | None = None,
    ceiling: float | None = None,
    n_ticks: int = 5,
) -> Scale:
    """A scale whose domain holds all values and ends at round numbers.

    Args:
        values: what must fit; ``None`` and what is not finite is left out.
        start: pixel of the lower end of the domain.
        stop: pixel of its upper end.
        floor: the domain never goes below (0 for a rate), unless a value does.
        ceiling: the domain never goes above (1 for a rate), unless a value does.
        n_ticks: about this many steps between ticks.
    """
    shown = drawable(values)
    low, high = _span(shown)
    step = nice_step((high - low) / n_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    least = -math.inf if floor is None or min(shown, default=floor) < floor else floor
    most = math.inf if ceiling is None or max(shown, default=ceiling) > ceiling else ceiling
    low, high = max(ticks[0], least), min(ticks[-1], most)
    slack = (high - low) * 1e-9
    kept = tuple(tick for tick in ticks if low - slack <= tick <= high + slack)
    return Scale(low, high, start, stop, kept)


def nice_step(raw: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least ``raw``."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * (1 - 1e-9))


def _span(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low > max(size * 1e-6, 1 / _BEYOND_DRAWING):
        return low, high
    around = size * 0.1 if size > 1 / _BEYOND_DRAWING else 0.5
    return low - around, high + around


Format = Callable[[float | None], str]

MISSING = "–"
_UNIT_GAP = "\u202f"
"""A narrow space that does not break, between a number and its unit."""


def percent(value: float | None) -> str:
    """A share in percent with one decimal: ``71.2 %``."""
    return _signless(value, lambda v: f"{100 * v:.1f}{_UNIT_GAP}%")


def points(value: float | None) -> str:
    """A difference of shares in signed percentage points: ``+9.2``."""
    return _signed(value, lambda v: f"{100 * v:.1f}")


def signed(value: float | None) -> str:
    """A signed difference in its own unit: ``+0.132``."""
    return _signed(value, _compact)


def tenths(value: float | None) -> str:
    """A number with one decimal: ``4.7``."""
    return _signless(value, lambda v: f"{v:,.1f}")


def signed_tenths(value: float | None) -> str:
    """A change with its sign and one decimal."""
    return _signed(value, lambda v: f"{v:,.1f}")


def number(value: float | None) -> str:
    """A number with four digits that count, whole numbers with thousands commas."""
    return _signless(value, _compact)


def alike(values: Iterable[float | None], digits: int = 3) -> Format:
    """A writer with equally many decimals for all values, for numbers read beside each other.

    As many as give ``digits`` that count to the largest, or two to how far the values lie
    apart, at most four: 0.241 (0.231 to 0.250), and 1.054 beside 1.086.
    """
    shown = drawable(values)
    largest = max(map(abs, shown), default=1.0)
    if not 1e-3 <= largest < 1e6:
        return number
    apart = max(shown) - min(shown) if shown else 0.0
    wanted = [digits - 1 - math.floor(math.log10(largest))]
    wanted += [1 - math.floor(math.log10(apart))] if apart else []
    return _fixed(min(max(*wanted, 0), 4))


def ticks_alike(ticks: Sequence[float]) -> Format:
    """A writer of ticks with as many decimals as the longest of them needs."""
    written = [number(tick) for tick in ticks]
    if any("e" in text for text in written):
        return number
    return _fixed(max((len(text.partition(".")[2]) for text in written), default=0))


def with_sign(write: Format) -> Format:
    """The same, with a plus before what is above zero."""
    return lambda value: _signed(value, write)


def _fixed(decimals: int) -> Format:
    return lambda value: _signless(value, lambda v: f"{v:,.{decimals}f}")


def percent_tick(value: float | None) -> str:
    """A tick of a share: as many decimals as it needs, at most one."""
    return _signless(value, lambda v: f"{round(100 * v, 1):g}{_UNIT_GAP}%")


def points_tick(value: float | None) -> str:
    """A tick of a difference of shares, with its sign."""
    return _signed(value, lambda v: f"{round(100 * v, 1):g}")


def without_unit(text: str) -> str:
    """A written share without its percent sign."""
    return text.removesuffix(f"{_UNIT_GAP}%")


def _compact(value: float) -> str:
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{min(digits, 4)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2e}"


def _signless(value: float | None, write: Callable[[float], str]) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    return write(value).replace("-", "−")


def _signed(value: float | None, write: Callable[[float], str]) -> str:
    text = _signless(value, write)
    zero = not any(digit in text for digit in "123456789")
    if text == MISSING or zero:
        return text.lstrip("−")
    return text if text.startswith("−") else f"+{text}"
