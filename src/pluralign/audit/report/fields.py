"""Estimates, groups and frames of ``audit.json``, and how its fields are read.

Each error names the place in the record, as ``models[0].frames.margin.groups[2].value``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, final

from ...errors import DataError
from ...rules import shown


@final
@dataclass(frozen=True)
class Estimate:
    """A value with its interval, each ``None`` where it is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None

    def overlaps(self, other: Estimate) -> bool:
        """Whether the intervals meet; unknown intervals count as meeting."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low <= other.high and other.low <= self.high

    def is_above(self, other: Estimate) -> bool:
        """Whether the difference to ``other``, of other pairs, has an interval above zero.

        Newcombe's interval, made of both: those may meet and the difference still be told.
        """
        if self.value is None or self.low is None or other.value is None or other.high is None:
            return False
        return self.value - other.value > math.hypot(
            self.value - self.low, other.high - other.value
        )

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and lies on one side of ``value``."""
        if self.low is None or self.high is None:
            return False
        return self.low > value or self.high < value


@final
@dataclass(frozen=True)
class Slice:
    """One group (or all pairs) of a frame.

    Args:
        name: the group.
        estimate: its mean.
        n: its pairs.
        flag: why it has no interval, if so.
        shrunk: its mean drawn towards the other groups; nothing in older records.
        adjusted: p-value that it differs, adjusted for the number of groups.
    """

    name: str
    estimate: Estimate
    n: int | None
    flag: str = ""
    shrunk: Estimate = Estimate()
    adjusted: float | None = None

    @property
    def standing(self) -> float | None:
        """What the group is ranked by."""
        return self.estimate.value if self.shrunk.value is None else self.shrunk.value


@final
@dataclass(frozen=True)
class Frame:
    """A metric by group, as ``GroupFrame.to_json`` writes it."""

    metric: str
    by: str
    confidence: float
    method: str
    overall: Slice
    groups: tuple[Slice, ...]
    worst: Slice | None
    gap: Estimate

    def group(self, name: str) -> Slice | None:
        """The group of a name, if the frame has it."""
        return next((group for group in self.groups if group.name == name), None)

    @property
    def n_tests(self) -> int:
        """Groups with a test, which the p-values are adjusted for."""
        return sum(group.adjusted is not None for group in self.groups)

    def differs(self, part: Slice) -> bool:
        """Whether a part is told from zero (or, of one model, from the other groups).

        By its adjusted p-value; a part without one by whether its interval excludes zero.
        """
        if part.adjusted is None:
            return part.estimate.excludes(0.0)
        return part.adjusted <= 1 - self.confidence + 1e-9


def read_frame(record: object, at: str) -> Frame:
    """One frame, as ``GroupFrame.to_json`` writes it; ``at`` is its place for messages."""
    frame = mapping(record, at)
    groups = tuple(read_slice(g, place) for g, place in items(frame.get("groups"), f"{at}.groups"))
    groups = _among_others(frame, groups, at)
    overall = mapping(frame.get("overall"), f"{at}.overall")
    return Frame(
        metric=text_of(frame, "metric"),
        by=text_of(frame, "by") or "group",
        confidence=number_of(frame, "confidence", at) or 0.95,
        method=text_of(frame, "method"),
        overall=read_slice({"name": "all pairs", **overall}, f"{at}.overall"),
        groups=groups,
        worst=_worst(groups, frame.get("worst")),
        gap=read_estimate(mapping(frame.get("gap"), f"{at}.gap"), f"{at}.gap"),
    )


def _among_others(
    frame: Mapping[str, Any], groups: tuple[Slice, ...], at: str
) -> tuple[Slice, ...]:
    """Groups with their shrunken means and adjusted p-values, where the record has them."""
    tests = mapping(frame.get("tests"), f"{at}.tests").get("groups")
    shrunk = {
        text_of(one, "name"): read_estimate(one, place)
        for one, place in items(frame.get("shrunk"), f"{at}.shrunk")
    }
    adjusted = {
        text_of(one, "name"): number_of(one, "adjusted", place)
        for one, place in items(tests, f"{at}.tests.groups")
    }
    return tuple(
        replace(
            group,
            shrunk=shrunk.get(group.name, group.shrunk),
            adjusted=adjusted.get(group.name),
        )
        for group in groups
    )


def _worst(groups: Sequence[Slice], named: object) -> Slice | None:
    known = [group for group in groups if group.estimate.value is not None]
    lowest = min(known, key=lambda group: cast(float, group.estimate.value), default=None)
    return next((group for group in known if group.name == named), lowest)


def read_slice(record: Mapping[str, Any], at: str) -> Slice:
    """One group with its estimate; a group without a name says so."""
    count = number_of(record, "n", at)
    return Slice(
        name=text_of(record, "name") or "(no name)",
        estimate=read_estimate(record, at),
        n=None if count is None else int(count),
        flag=text_of(record, "flag"),
    )


def read_estimate(record: Mapping[str, Any], at: str) -> Estimate:
    """``value``, ``low`` and ``high``, each of which may be absent."""
    return Estimate(*(number_of(record, key, at) for key in ("value", "low", "high")))


def finite(value: object) -> float | None:
    """A finite number as a float; anything else is ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number_of(record: Mapping[str, Any], key: str, at: str) -> float | None:
    """A finite number of a record, or ``None``; anything else is refused."""
    value = record.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise DataError(f"{at}.{key} must be a number or null; got {shown(value)}.")
    return finite(value)


def text_of(record: Mapping[str, Any], key: str) -> str:
    """A text of a record; empty where it is absent."""
    value = record.get(key)
    return "" if value is None else str(value)


def mapping(value: object, at: str) -> Mapping[str, Any]:
    """A mapping; empty where it is absent."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(f"{at} must be a mapping; got {shown(value)}.")
    return cast(Mapping[str, Any], value)


def items(value: object, at: str) -> list[tuple[Mapping[str, Any], str]]:
    """The mappings of a list with the place of each; none where it is absent."""
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise DataError(f"{at} must be a list; got {shown(value)}.")
    listed = cast(Sequence[object], value)
    return [(mapping(item, f"{at}[{i}]"), f"{at}[{i}]") for i, item in enumerate(listed)]
