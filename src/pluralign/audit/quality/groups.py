"""Whether the groups of a data set can carry a comparison."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from .findings import Finding, pairs_of, percent
from .ledger import Ledger
from .statistics import minimum_detectable_gap

_TINY = 10
_MOST_COMPARED = 20  # groups of which each pair is compared
_POWER = 0.8
_MISSING = frozenset({"", "none", "null", "nan", "na", "n/a", "<na>", "nat", "missing", "unknown"})


def group_findings(ledger: Ledger, confidence: float) -> list[Finding]:
    """Absent, single, missing and tiny groups, and the gaps that the sizes can resolve."""
    if (ledger.group < 0).all():
        what = "The pairs have no group column."
        return [Finding("no_groups", "note", what, len(ledger))]
    sizes = {name: int(member.sum()) for name, member in ledger.members()}
    found = _missing(ledger)
    if len(sizes) == 1:
        what = f"All {len(ledger):,} pairs are of the group {next(iter(sizes))!r}."
        return [*found, Finding("one_group", "warning", what, len(ledger))]
    return [*found, *_tiny(ledger, sizes), _resolution(sizes, confidence)]


def _missing(ledger: Ledger) -> list[Finding]:
    codes = [c for c, name in enumerate(ledger.groups) if name.strip().casefold() in _MISSING]
    rows = np.flatnonzero(np.isin(ledger.group, codes) | (ledger.group < 0)).tolist()
    if not rows:
        return []
    return [
        Finding(
            "missing_groups",
            "warning",
            f"{pairs_of(len(rows), len(ledger))} have no group label.",
            len(rows),
            tuple(rows),
            data={"labels": [ledger.groups[code] for code in codes]},
        )
    ]


def _tiny(ledger: Ledger, sizes: dict[str, int]) -> list[Finding]:
    tiny = {name: size for name, size in sizes.items() if size < _TINY}
    if not tiny:
        return []
    codes = [code for code, name in enumerate(ledger.groups) if name in tiny]
    rows = np.flatnonzero(np.isin(ledger.group, codes)).tolist()
    return [
        Finding(
            "tiny_groups",
            "warning",
            f"{len(tiny)} of {len(sizes)} groups have fewer than {_TINY} pairs "
            f"({len(rows):,} pairs in all).",
            len(rows),
            tuple(rows),
            data={"sizes": tiny},
        )
    ]


def _resolution(sizes: dict[str, int], confidence: float) -> Finding:
    total = sum(sizes.values())
    groups = [
        {
            "name": name,
            "n": size,
            "gap_to_rest": _gap(size, total - size, confidence),
            "gap_to_chance": _gap(size, None, confidence),
        }
        for name, size in sizes.items()
    ]
    between = [
        {"a": a, "b": b, "gap": _gap(sizes[a], sizes[b], confidence)}
        for a, b in combinations(list(sizes)[:_MOST_COMPARED], 2)
    ]
    last = groups[-1]
    return Finding(
        "group_resolution",
        "note",
        f"With {last['n']:,} pairs, the smallest group ({last['name']}) shows a gap of accuracy to "
        f"the rest only from {_points(last['gap_to_rest'])} (power {percent(_POWER)}); the largest "
        f"({groups[0]['name']}, {groups[0]['n']:,} pairs) from "
        f"{_points(groups[0]['gap_to_rest'])}.",
        len(sizes),
        data={"groups": groups, "between": between, "power": _POWER, "confidence": confidence},
    )


def _gap(n: int, m: int | None, confidence: float) -> float | None:
    """The minimum detectable gap; ``None`` where no gap is large enough."""
    gap = minimum_detectable_gap(n, m, confidence=confidence, power=_POWER)
    return None if math.isnan(gap) else gap


def _points(gap: Any) -> str:
    return "no size at all" if gap is None else f"{100 * gap:.0f} points"
