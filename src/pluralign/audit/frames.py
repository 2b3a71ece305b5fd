"""From one value a pair to means by group, their extremes and the record of a frame."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import NDArray

from ..data import LABEL_COLUMNS, Preferences
from ..errors import DataError
from ..rules import Within, check
from .intervals import Floats, Mean, Method, mean_interval, spread_interval
from .moments import Moments, moments
from .multiplicity import Against, GroupTest, group_tests
from .shrinkage import shrink

CROSS = " × "
"""Stands between the parts of an intersection's name."""

_LEAST = 1e-12  # stands for zero in a logarithm


@final
@dataclass(frozen=True)
class Estimate:
    """A mean over the pairs of one group, or of all pairs.

    Attributes:
        name: the group; ``"all"`` for all pairs.
        n: pairs that the mean is over.
        value: the mean; ``None`` for an empty group.
        low: lower end of the interval; ``None`` where there is none.
        high: upper end.
        flag: ``""``; ``"empty"`` (no pair); ``"single"`` (one pair); ``"constant"`` (all
            values equal, so that their spread cannot be told).
        n_excluded: pairs of the group without a value (NaN), or with weight zero.
        standard_error: standard deviation of the plausible true values.
    """

    name: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    flag: str = ""
    n_excluded: int = 0
    standard_error: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Level of the intervals, number of draws and their seed."""

    confidence: Annotated[float, Within(0.0, 1.0, closed="neither")]
    n_bootstrap: Annotated[int, Within(100, integer=True)]
    seed: Annotated[int, Within(0, integer=True)]

    def __post_init__(self) -> None:
        check(self)


def group_labels(pairs: Preferences, by: str | Sequence[str]) -> list[str]:
    """Name of the group of each pair, by one column or attribute, or by several crossed.

    Raises:
        DataError: if the pairs have no such column.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names:
        raise DataError("by must name at least one column.", source=pairs.source)
    columns = [_column(pairs, name) for name in names]
    return [CROSS.join(parts) for parts in zip(*columns, strict=True)] if names[1:] else columns[0]


def numbered(labels: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The different labels in order, and the place of each label among them, int64 ``(N,)``.

    Never an array of strings: its rows are all as wide as the longest one.
    """
    names = sorted(set(labels))
    place = {name: i for i, name in enumerate(names)}
    index = np.fromiter(map(place.__getitem__, labels), dtype=np.int64, count=len(labels))
    return names, index


def _column(pairs: Preferences, name: str) -> list[str]:
    if name in LABEL_COLUMNS and getattr(pairs, name) is not None:
        return list(getattr(pairs, name))
    if name in pairs.attributes:
        # Not rounded: identifiers that differ in their last digit are different groups.
        return [repr(value).removesuffix(".0") for value in pairs.attributes[name].tolist()]
    known = [column for column in LABEL_COLUMNS if getattr(pairs, column) is not None]
    raise DataError(
        f"there is no column {name!r} to slice by; the pairs have "
        f"{[*known, *pairs.attributes] or 'none'}.",
        source=pairs.source,
    )


def frame_record(
    values: Floats,
    pairs: Preferences,
    *,
    metric: str,
    by: str | Sequence[str],
    method: Method,
    settings: Settings,
    levels: Iterable[str],
    against: Against = "rest",
) -> dict[str, Any]:
    """The plain values of a frame (see ``GroupFrame.to_json``).

    Args:
        values: ``(N,)``, NaN for a pair that is left out.
        pairs: N pairs, for groups and weights.
        metric: name of what the values are.
        by: column or columns to slice by.
        method: kind of interval.
        settings: level, draws, seed.
        levels: groups to show even where they have no pair.
        against: what the test of each group compares it with.

    Raises:
        DataError: if no pair has a value.
    """
    weights = pairs.weight
    used = np.isfinite(values) if weights is None else np.isfinite(values) & (weights > 0)
    if not used.any():
        raise DataError(f"{metric} has no value for any pair.", source=pairs.source)
    names, index = numbered(group_labels(pairs, by))
    names = list(dict.fromkeys([*names, *levels]))  # those without pairs last

    def mean(name: str, rows: NDArray[np.int64]) -> tuple[Estimate, Mean]:
        kept = rows[used[rows]]
        chosen = None if weights is None else weights[kept]
        return _estimate(name, values[kept], chosen, len(rows) - len(kept), method, settings)

    ordered = np.argsort(index, kind="stable")
    parts = np.split(ordered, np.cumsum(np.bincount(index, minlength=len(names)))[:-1])
    found = [mean(name, rows) for name, rows in zip(names, parts, strict=True)]
    # Draws depend on the name, so one group that holds all pairs must give its own.
    alone = sum(len(rows) > 0 for rows in parts) == 1
    overall = max((e for e, _ in found), key=lambda e: e.n) if alone else None
    overall = overall or mean("all", np.arange(len(values)))[0]
    shrunk, tests = _together(
        [estimate for estimate, _ in found],
        moments(values[used], None if weights is None else weights[used], index[used], len(names)),
        method,
        settings,
        against,
    )
    order = sorted(range(len(names)), key=lambda place: _rank(shrunk[place]))
    return {
        "metric": metric,
        "by": by if isinstance(by, str) else CROSS.join(by),
        "method": method,
        **asdict(settings),
        "overall": {key: item for key, item in asdict(overall).items() if key != "name"},
        "groups": [asdict(found[place][0]) for place in order],
        **_extremes([found[place] for place in order], settings.confidence),
        "shrunk": [asdict(shrunk[place]) for place in order],
        "tests": {"against": against, "groups": [asdict(tests[place]) for place in order]},
    }


def _rank(shrunk: Estimate) -> tuple[bool, float, str]:
    return shrunk.value is None, shrunk.value or 0.0, shrunk.name


def _together(
    found: Sequence[Estimate],
    measured: tuple[Moments, Moments],
    method: Method,
    settings: Settings,
    against: Against,
) -> tuple[list[Estimate], list[GroupTest]]:
    """What the groups say of each other: shrunken means, and tests with adjusted p-values."""
    groups, rest = measured
    there = groups.n > 0
    rng = np.random.default_rng([settings.seed, zlib.crc32(b"all groups")])
    means = shrink(groups.of(there), method, settings.n_bootstrap, rng)
    tail = (1 - settings.confidence) / 2
    lows, highs = np.quantile(means.draws, [tail, 1 - tail], axis=0)
    errors = means.draws.std(axis=0)
    columns = np.full((4, len(found)), np.nan)
    columns[:, there] = means.value, lows, highs, errors
    shrunk = [
        replace(
            estimate,
            value=estimate.value if math.isnan(value) else value,
            low=_known(low),
            high=_known(high),
            standard_error=_known(error),
        )
        for estimate, (value, low, high, error) in zip(found, columns.T.tolist(), strict=True)
    ]
    tested = np.stack(group_tests(groups, rest, method, against), axis=1).tolist()
    tests = [
        GroupTest(estimate.name, *map(_known, row))
        for estimate, row in zip(found, tested, strict=True)
    ]
    return shrunk, tests


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _estimate(
    name: str,
    values: Floats,
    weights: Floats | None,
    n_excluded: int,
    method: Method,
    settings: Settings,
) -> tuple[Estimate, Mean]:
    if not len(values):
        mean = Mean(math.nan, math.nan, math.nan, np.empty(0))
        return Estimate(name, 0, None, None, None, "empty", n_excluded), mean
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    mean = mean_interval(
        values,
        weights,
        method,
        confidence=settings.confidence,
        n_draws=settings.n_bootstrap,
        rng=rng,
    )
    if not mean.draws.size:
        flag = "single" if len(values) == 1 else "constant"
        return Estimate(name, len(values), mean.value, None, None, flag, n_excluded), mean
    error = float(mean.draws.std())
    estimate = Estimate(name, len(values), mean.value, mean.low, mean.high, "", n_excluded, error)
    return estimate, mean


def _extremes(found: Sequence[tuple[Estimate, Mean]], confidence: float) -> dict[str, Any]:
    """Worst, best, gap and ratio of groups in order, the worst-off first.

    A single pair takes part only where there is nothing else.
    """
    several = [(e, m) for e, m in found if e.flag in ("", "constant")]
    known = several or [(e, m) for e, m in found if e.flag == "single"]
    values = np.array([estimate.value for estimate, _ in known], dtype=np.float64)
    gap: dict[str, float | None] = {
        "value": max(0.0, float(values[-1] - values[0])),
        "low": None,
        "high": None,
    }
    ratio: dict[str, float | None] = {"value": _ratio(values), "low": None, "high": None}
    drawn = [mean.draws.size for _, mean in known]
    if len(known) > 1 and any(drawn):
        size, ends = max(drawn), (0, len(known) - 1)
        draws = np.stack(
            [m.draws if m.draws.size else np.full(size, m.value) for _, m in known], axis=1
        )
        spread = spread_interval(values, draws, confidence, ends)
        gap = dict(zip(("value", "low", "high"), spread, strict=True))
        if ratio["value"] is not None:
            logs = np.log(np.maximum(values, _LEAST)), np.log(np.maximum(draws, _LEAST))
            _, low, high = spread_interval(*logs, confidence, ends)
            ratio["low"] = min(math.exp(-high), ratio["value"])
            ratio["high"] = max(math.exp(-low), ratio["value"])
    return {"worst": known[0][0].name, "best": known[-1][0].name, "gap": gap, "ratio": ratio}


def _ratio(values: Floats) -> float | None:
    if values.min() < 0 or values[-1] <= 0:
        return None
    return min(1.0, float(values[0] / values[-1]))
