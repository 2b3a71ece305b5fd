"""Audit columns and write them as numbers, the same way for training rows and later ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, DataQualityWarning
from ...rules import shown
from .columns import Columns, is_number, missing
from .penalties import Floats

Missing = Literal["refuse", "impute"]

_MAX_LEVELS = 10_000
_MAX_MISSING = 0.2
_OTHER = "(other)"


@final
@dataclass(frozen=True)
class Finding:
    """What the audit says of a column.

    Attributes:
        column: its name.
        kind: ``"constant"``, ``"duplicate"``, ``"missing"``, ``"rare"`` or ``"reference"``.
        action: what was done, in words.
    """

    column: str
    kind: str
    action: str


@final
@dataclass(frozen=True)
class Encoded:
    """A column of numbers.

    Attributes:
        name: such as ``"price"`` or ``"brand=b"``.
        source: the column it was made of.
        binary: whether it has two values only.
    """

    name: str
    source: str
    binary: bool


@dataclass(frozen=True)
class _Rule:
    """How one column is written: numbers as they are, text as dummies of its levels."""

    source: str
    fill: Any
    levels: tuple[str, ...] = ()
    merged: frozenset[str] = frozenset()
    reference: str = ""
    flagged: bool = False

    def names(self) -> list[str]:
        own = [f"{self.source}={level}" for level in self.levels] if self.levels else [self.source]
        return own + [f"{self.source} is missing"] * self.flagged

    def write(self, column: NDArray[Any]) -> Iterator[Floats]:
        gone = missing(column)
        filled = np.where(gone, self.fill, column)
        if self.levels:
            merged = np.array([value in self.merged for value in filled], bool)
            filled = np.where(merged, _OTHER, filled)
            for level in self.levels:
                yield (filled == level).astype(np.float64)
        else:
            yield filled.astype(np.float64)
        if self.flagged:
            yield gone.astype(np.float64)

    def unseen(self, column: NDArray[Any]) -> list[str]:
        if not self.levels:
            return []
        known = {*self.levels, *self.merged, self.reference, None}
        return sorted(set(column.tolist()) - known)


@final
@dataclass(frozen=True)
class Encoding:
    """What an audit of training rows decided.

    Attributes:
        columns: what is written, in order.
        findings: what was left out, merged, filled or made the reference.
    """

    columns: tuple[Encoded, ...]
    findings: tuple[Finding, ...]
    _rules: tuple[_Rule, ...]
    _kept: NDArray[np.intp]
    _refuse: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is written."""
        return tuple(column.name for column in self.columns)

    @property
    def blocks(self) -> list[list[int]]:
        """Positions of the columns that one source was written as, by source."""
        found: dict[str, list[int]] = {}
        for position, column in enumerate(self.columns):
            found.setdefault(column.source, []).append(position)
        return list(found.values())

    def write(self, columns: Columns) -> Floats:
        """Rows as numbers, (n, columns), in column order.

        A level that training rows did not have counts as the reference, with a warning.

        Raises:
            DataError: for a missing value that is refused, or text where numbers were.
        """
        if self._refuse:
            refuse_missing(columns)
        written = list[Floats]()
        for rule in self._rules:
            column = columns[rule.source]
            if is_number(column) == bool(rule.levels) and not missing(column).all():
                column = _converted(rule.source, column, bool(rule.levels))
            unseen = rule.unseen(column)
            if unseen:
                warnings.warn(
                    f"column {rule.source!r} has levels that training rows lack, "
                    f"{shown(unseen)}; they count as {rule.reference!r}.",
                    DataQualityWarning,
                    stacklevel=2,
                )
            written.extend(rule.write(column))
        every = np.stack(written) if written else np.empty((0, len(next(iter(columns.values())))))
        return every[self._kept].T


def audit(
    columns: Columns, weights: Floats, *, on_missing: Missing = "refuse", min_count: float = 5
) -> Encoding:
    """Decide how columns are written, from training rows.

    Text becomes dummies of its levels, the most frequent one being the reference. Levels with
    fewer than ``min_count`` rows are merged (left out, if together they are still fewer), and
    so few zeros or ones leave a column of two values out; so do a single value, a column
    that another repeats, and more than 20 % missing values. Fewer of them are filled by
    median or most frequent level, and flagged by a column of their own.

    Args:
        columns: of :func:`~pluralign.learn.drivers.columns.columns_of`.
        weights: of rows, (n,); a weight of 2 counts as two rows.
        on_missing: ``"impute"``, or ``"refuse"`` any missing value.
        min_count: rows that a level needs.

    Raises:
        DataError: for missing values that are refused, or more than 10,000 levels.

    Example:
        >>> from pluralign.learn.drivers.columns import columns_of
        >>> table = columns_of({"brand": ["a", "b"] * 6, "same": [1.0] * 12})
        >>> found = audit(table, np.ones(12))
        >>> found.names, [(one.column, one.kind) for one in found.findings]
        (('brand=b',), [('brand', 'reference'), ('same', 'constant')])
    """
    if on_missing == "refuse":
        refuse_missing(columns)
    rules, findings = list[_Rule](), list[Finding]()
    for name, column in columns.items():
        rule = _judged(name, column, weights, min_count, findings)
        if rule is not None:
            rules.append(rule)
    names = [(name, rule.source) for rule in rules for name in rule.names()]
    kept, made, seen = list[int](), list[Encoded](), dict[bytes, str]()
    written = (one for rule in rules for one in rule.write(columns[rule.source]))
    for position, ((name, source), column) in enumerate(zip(names, written, strict=True)):
        # Adding 0 turns -0 into 0.
        twin = seen.setdefault((column + 0.0).tobytes(), name)
        if twin != name:
            findings.append(Finding(name, "duplicate", f"left out: it repeats {twin!r}"))
            continue
        kept.append(position)
        made.append(Encoded(name, source, len(np.unique(column)) <= 2))
    return Encoding(
        tuple(made), tuple(findings), tuple(rules), np.array(kept, np.intp), on_missing == "refuse"
    )


def refuse_missing(columns: Columns) -> None:
    """Raise a :class:`DataError` for the first column with a missing value."""
    for name, column in columns.items():
        rows = np.flatnonzero(missing(column)).tolist()
        if rows:
            raise DataError(
                f"column {name!r}, row {rows[0]}: the value is missing, or NaN ({len(rows)} in "
                'all); fill it, or set missing="impute".',
                rows=rows,
            )


def _judged(
    name: str, column: NDArray[Any], weights: Floats, min_count: float, findings: list[Finding]
) -> _Rule | None:
    """The rule of a column, ``None`` if it is left out; findings are added."""
    gone = missing(column)
    absent = float(weights[gone].sum())
    if absent > _MAX_MISSING * weights.sum():
        share = absent / weights.sum()
        findings.append(Finding(name, "missing", f"left out: {share:.0%} of the rows lack it"))
        return None
    values, at = np.unique(column[~gone], return_inverse=True)
    counts = np.bincount(at, weights[~gone], len(values))
    if len(values) < 2:
        findings.append(
            Finding(name, "constant", "left out: it has one value; its coefficient is 0")
        )
        return None
    flagged = absent >= min_count
    numeric = is_number(column)
    if absent:
        how = "median" if numeric else "most frequent level"
        more = ", and flagged by a column" if flagged else ""
        findings.append(Finding(name, "missing", f"{int(gone.sum())} values filled by {how}{more}"))
    if not numeric:
        return _levels(name, values, counts, min_count, flagged, findings)
    if len(values) == 2 and counts.min() < min_count:
        findings.append(Finding(name, "rare", f"left out: {counts.min():g} rows differ"))
        return None
    return _Rule(name, _median(column[~gone], weights[~gone]), flagged=flagged)


def _levels(
    name: str,
    values: NDArray[Any],
    counts: NDArray[Any],
    min_count: float,
    flagged: bool,
    findings: list[Finding],
) -> _Rule | None:
    if len(values) > _MAX_LEVELS:
        raise DataError(
            f"column {name!r} has {len(values):,} levels, more than {_MAX_LEVELS:,}; hash them or "
            "group them into fewer, or leave the column out."
        )
    reference = int(counts.argmax())
    if counts[reference] < min_count:
        findings.append(
            Finding(name, "rare", f"left out: none of {len(values)} levels is frequent")
        )
        return None
    rare = counts < min_count
    rare[reference] = False
    merged = frozenset(values[rare].tolist())
    together = float(counts[rare].sum())
    levels = [v for v, out in zip(values.tolist(), rare.tolist(), strict=True) if not out]
    levels.remove(values[reference])
    if merged:
        stay = together >= min_count
        levels += [_OTHER] * stay
        action = f"merged as {_OTHER}" if stay else "counted as the reference: too few together"
        findings.append(Finding(name, "rare", f"{len(merged)} levels {action}"))
    if not levels:
        findings.append(Finding(name, "rare", "left out: one level has nearly all rows"))
        return None
    findings.append(Finding(name, "reference", f"compared with {values[reference]!r}"))
    return _Rule(name, values[reference], tuple(levels), merged, str(values[reference]), flagged)


def _median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    reached = weights[order].cumsum()
    half = reached[-1] / 2
    low = np.searchsorted(reached, half)
    high = np.searchsorted(reached, half, side="right")
    return float(values[order][[low, min(high, len(order) - 1)]].mean())


def _converted(name: str, column: NDArray[Any], wants_text: bool) -> NDArray[Any]:
    if wants_text:
        found = np.empty(len(column), object)
        found[:] = [None if value != value else str(value) for value in column.tolist()]
        return found
    bad = next(value for value in column.tolist() if value is not None)
    raise DataError(f"column {name!r} was numbers when fitting; got {shown(bad)}.")
