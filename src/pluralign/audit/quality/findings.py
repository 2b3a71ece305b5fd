"""What a data audit found: plain records that a terminal, a report or a file can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, final

from .kinds import KINDS

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_IDS_SHOWN = 20


@final
@dataclass(frozen=True)
class Finding:
    """One thing that the audit has to say about a data set.

    Args:
        key: kind of finding, a key of ``KINDS``.
        severity: ``"error"`` (mend before training), ``"warning"`` (look at it) or
            ``"note"`` (good to know).
        what: one sentence with the number.
        count: how many pairs (for ``group_resolution``: groups) it is about.
        rows: zero-based row numbers of all of them, rising; empty if it is about the whole set.
        ids: pair ids of the first rows.
        data: details for plots and tables, plain values.
    """

    key: str
    severity: Severity
    what: str
    count: int
    rows: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def title(self) -> str:
        """A few words for a heading."""
        return KINDS[self.key].title

    @property
    def why(self) -> str:
        """Why it matters."""
        return KINDS[self.key].why

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.key].remedy

    def to_json(self, *, max_rows: int | None = None) -> dict[str, Any]:
        """Plain values; ``max_rows`` shortens the list of rows, never the count."""
        return {
            "key": self.key,
            "severity": self.severity,
            "title": self.title,
            "what": self.what,
            "count": self.count,
            "rows": list(self.rows[:max_rows]),
            "ids": list(self.ids),
            "why": self.why,
            "remedy": self.remedy,
            "data": _plain(self.data),
        }


@final
@dataclass(frozen=True)
class DataAudit:
    """All findings about one data set, the gravest first.

    Args:
        source: file or object that the pairs came from.
        n_pairs: number of pairs.
        findings: what was found.
        settings: confidence, seed, ... that the audit was made with.
    """

    source: str
    n_pairs: int
    findings: tuple[Finding, ...]
    settings: Mapping[str, Any]

    @property
    def worst_severity(self) -> Severity | None:
        """The gravest severity among the findings; ``None`` if there are none."""
        present = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in present), None)

    def find(self, key: str) -> Finding | None:
        """The finding of a kind, if there is one."""
        return next((finding for finding in self.findings if finding.key == key), None)

    def to_json(self, *, max_rows: int | None = None) -> dict[str, Any]:
        """Plain values for files, ``--json`` and the report."""
        return {
            "source": self.source,
            "n_pairs": self.n_pairs,
            "worst_severity": self.worst_severity,
            "counts": {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES},
            "findings": [finding.to_json(max_rows=max_rows) for finding in self.findings],
            "settings": dict(self.settings),
        }


def sorted_findings(found: Sequence[Finding], names: Sequence[str] | None) -> tuple[Finding, ...]:
    """The gravest first, each with the pair ids of its first rows."""
    order = list(KINDS)
    ranked = sorted(found, key=lambda f: (SEVERITIES.index(f.severity), order.index(f.key)))
    return tuple(_named(finding, names) for finding in ranked)


def _named(finding: Finding, names: Sequence[str] | None) -> Finding:
    if finding.ids:
        return finding
    return replace(finding, ids=first_ids(finding.rows, names))


def first_ids(rows: Sequence[int], names: Sequence[str] | None) -> tuple[str, ...]:
    """Pair ids of the first rows, as a finding keeps them."""
    return tuple(str(row) if names is None else names[row] for row in rows[:_IDS_SHOWN])


def _plain(value: Any) -> Any:
    """The value with ``None`` for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {name: _plain(part) for name, part in items}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def percent(share: float) -> str:
    """A share in words: ``71 %``; one decimal below 10 and above 90 percent."""
    digits = 0 if 0.1 <= share <= 0.9 else 1
    return f"{100 * share:.{digits}f} %"


def percents(value: float, low: float, high: float) -> str:
    """A share with its interval: ``71 % [66 %, 75 %]``, all as exact as the share."""
    digits = 0 if 0.1 <= value <= 0.9 else 1
    return f"{100 * value:.{digits}f} % [{100 * low:.{digits}f} %, {100 * high:.{digits}f} %]"


def pairs_of(count: int, total: int) -> str:
    """For example ``12 of 2,210 pairs``."""
    return f"{count:,} of {total:,} pairs"
