"""What ``audit.distributions`` recorded of a model, as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from ...errors import DataError
from ...rules import shown
from .fields import (
    Estimate,
    Frame,
    Slice,
    finite,
    items,
    mapping,
    number_of,
    read_frame,
    read_slice,
    text_of,
)


@final
@dataclass(frozen=True)
class Bins:
    """Counts of one group (or of all pairs); the middle half goes from ``low`` to ``high``."""

    name: str
    n: int
    counts: tuple[float, ...]
    middle: Estimate


@final
@dataclass(frozen=True)
class Histogram:
    """Counts between edges; what lies beyond them is in the outermost bins."""

    edges: tuple[float, ...]
    overall: Bins
    groups: tuple[Bins, ...]


@final
@dataclass(frozen=True)
class Drift:
    """Change of both log-probabilities against the reference, by group."""

    chosen: Frame
    rejected: Frame
    both_fell: float | None
    relative: float | None
    threshold: float | None
    alarm: bool
    alarmed: tuple[str, ...]


@final
@dataclass(frozen=True)
class Lengths:
    """Accuracy by relative length, and how often the longer response wins."""

    classes: tuple[Slice, ...]
    labels_longer: Slice
    model_longer: Slice


@final
@dataclass(frozen=True)
class Level:
    """How probable the rewards claim their choice to be, and how often labels agree."""

    claimed: float | None
    found: Slice


@final
@dataclass(frozen=True)
class Calibration:
    """Claimed probability against agreement, by level and by group."""

    levels: tuple[Level, ...]
    overall: Level
    groups: tuple[Level, ...]
    error: float | None


@final
@dataclass(frozen=True)
class Behind:
    """What lies behind the means of one model; ``None`` where the scores did not allow it."""

    log_ratio: Histogram | None = None
    difficulty: Histogram | None = None
    drift: Drift | None = None
    lengths: Lengths | None = None
    calibration: Calibration | None = None


def read_behind(record: object, at: str) -> Behind:
    """Check the ``distributions`` of a model; each part may be absent."""
    top = mapping(record, at)
    return Behind(
        log_ratio=_histogram(top.get("log_ratio"), f"{at}.log_ratio"),
        difficulty=_histogram(top.get("difficulty"), f"{at}.difficulty"),
        drift=_drift(top.get("drift"), f"{at}.drift"),
        lengths=_lengths(top.get("length"), f"{at}.length"),
        calibration=_calibration(top.get("calibration"), f"{at}.calibration"),
    )


def _histogram(record: object, at: str) -> Histogram | None:
    found = mapping(record, at)
    if not found:
        return None
    edges = _numbers(found.get("edges"), f"{at}.edges")
    if len(edges) < 2:
        raise DataError(f"{at}.edges must hold at least two numbers; got {shown(edges)}.")
    overall = {**mapping(found.get("overall"), f"{at}.overall"), "name": "all pairs"}
    return Histogram(
        edges=edges,
        overall=_bins(overall, f"{at}.overall", len(edges) - 1),
        groups=tuple(
            _bins(group, place, len(edges) - 1)
            for group, place in items(found.get("groups"), f"{at}.groups")
        ),
    )


def _bins(record: Mapping[str, Any], at: str, size: int) -> Bins:
    counts = list(_numbers(record.get("counts"), f"{at}.counts"))
    if len(counts) != size:
        raise DataError(f"{at}.counts must hold {size} numbers; got {len(counts)}.")
    counts[0] += number_of(record, "below", at) or 0.0
    counts[-1] += number_of(record, "above", at) or 0.0
    quantiles = mapping(record.get("quantiles"), f"{at}.quantiles")
    middle = (number_of(quantiles, key, f"{at}.quantiles") for key in ("median", "p25", "p75"))
    return Bins(
        name=text_of(record, "name") or "(no name)",
        n=int(sum(counts)),
        counts=tuple(counts),
        middle=Estimate(*middle),
    )


def _numbers(value: object, at: str) -> tuple[float, ...]:
    listed = cast(Sequence[object], value) if isinstance(value, (list, tuple)) else ()
    numbers = [finite(item) for item in listed]
    if value is None or len(numbers) != len(listed) or None in numbers:
        raise DataError(f"{at} must be a list of finite numbers; got {shown(value)}.")
    return tuple(cast(list[float], numbers))


def _drift(record: object, at: str) -> Drift | None:
    found = mapping(record, at)
    if not found:
        return None
    relative = mapping(found.get("relative"), f"{at}.relative")
    alarmed = found.get("alarmed")
    return Drift(
        chosen=read_frame(found.get("chosen"), f"{at}.chosen"),
        rejected=read_frame(found.get("rejected"), f"{at}.rejected"),
        both_fell=number_of(found, "both_fell", at),
        relative=number_of(relative, "overall", f"{at}.relative"),
        threshold=number_of(found, "threshold", at),
        alarm=found.get("alarm") is True,
        alarmed=tuple(map(str, cast(Sequence[object], alarmed or ()))),
    )


def _lengths(record: object, at: str) -> Lengths | None:
    found = mapping(record, at)
    if not found:
        return None
    return Lengths(
        classes=tuple(read_slice(c, p) for c, p in items(found.get("classes"), f"{at}.classes")),
        labels_longer=_slice_of(found, "labels_longer", at),
        model_longer=_slice_of(found, "model_longer", at),
    )


def _slice_of(record: Mapping[str, Any], key: str, at: str) -> Slice:
    return read_slice(mapping(record.get(key), f"{at}.{key}"), f"{at}.{key}")


def _calibration(record: object, at: str) -> Calibration | None:
    found = mapping(record, at)
    if not found:
        return None
    overall = {**mapping(found.get("overall"), f"{at}.overall"), "name": "all pairs"}
    return Calibration(
        levels=_levels(found.get("levels"), f"{at}.levels"),
        overall=_level(overall, f"{at}.overall"),
        groups=_levels(found.get("groups"), f"{at}.groups"),
        error=number_of(found, "error", at),
    )


def _levels(value: object, at: str) -> tuple[Level, ...]:
    return tuple(_level(record, place) for record, place in items(value, at))


def _level(record: Mapping[str, Any], at: str) -> Level:
    return Level(number_of(record, "claimed", at), read_slice(record, at))
