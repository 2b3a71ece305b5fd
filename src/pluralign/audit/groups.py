"""``GroupFrame``: a metric by group, the worst-off group beside the mean."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ..data import ScoredPairs
from ..errors import DataError, IncompatibleError
from ..rules import nearest, shown
from .frames import Estimate, Settings, frame_record
from .intervals import Floats
from .multiplicity import GroupTest

Metric: TypeAlias = Callable[[ScoredPairs], NDArray[np.float64]]
"""Per-pair values ``(N,)`` of scored pairs; NaN leaves a pair out."""


@final
class GroupFrame:
    """A metric overall, by group, for the worst-off and the best group, and their gap.

    Use it for every figure that stands for several groups of people: a mean alone hides
    whom it does not serve. Do not read a gap without its interval, nor compare two models
    by two frames: :func:`compare` uses the pairing.

    Intervals: Wilson's for metrics of 0 and 1, else the bootstrap-t. Their level is right
    on average from 10 pairs a group on. A mean uses the pairs' ``weight`` where there is
    one. The result does not depend on the order of the rows.

    Args:
        metric: function from scored pairs to ``(N,)`` values; NaN leaves a pair out, and
            the frame counts it.
        scored: the pairs.
        by: a column (``"group"``, ``"annotator"``, ``"domain"``), the name of an attribute,
            or several of them for their intersections.
        confidence: level of the intervals, in (0, 1).
        n_bootstrap: number of draws, >= 100.
        seed: of the draws.
        levels: groups to show even where they have no pair.

    Raises:
        DataError: if there is no such column, or no pair has a value.
        ParameterError: listing every option out of range.

    Example:
        >>> from pluralign import Preferences, ScoredPairs
        >>> from pluralign.audit import GroupFrame, ranking_accuracy
        >>> rows = [dict(prompt="p", chosen="a", rejected="b", group=g) for g in "nnnsss"]
        >>> scored = ScoredPairs(Preferences.from_records(rows),
        ...     chosen=[-1.0, -2.0, -1.0, -5.0, -6.0, -1.0], rejected=[-3.0] * 6)
        >>> frame = GroupFrame(ranking_accuracy, scored)
        >>> frame.worst().name, round(frame.worst().value, 2), round(frame.gap().value, 2)
        ('s', 0.33, 0.67)

    Differs from the paper: ours; no single paper.

    References:
        Hall, 1992, The Bootstrap and Edgeworth Expansion, chapter 3 (bootstrap-t).
    """

    def __init__(
        self,
        metric: Metric,
        scored: ScoredPairs,
        by: str | Sequence[str] = "group",
        *,
        confidence: float = 0.95,
        n_bootstrap: int = 2000,
        seed: int = 0,
        levels: Iterable[str] = (),
    ) -> None:
        values = _values(metric, scored)
        binary = bool(np.isin(values[np.isfinite(values)], (0.0, 1.0)).all())
        settings = Settings(confidence=confidence, n_bootstrap=n_bootstrap, seed=seed)
        self._record = frame_record(
            values,
            scored.pairs,
            metric=_name(metric),
            by=by,
            method="wilson" if binary else "bootstrap_t",
            settings=settings,
            levels=levels,
        )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> GroupFrame:
        """The frame that :meth:`to_json` wrote.

        Raises:
            DataError: if the record lacks a part of a frame.
        """
        missing = {"metric", "by", "overall", "groups", "worst", "best", "gap"} - set(record)
        if missing:
            raise DataError(f"this is no frame: it lacks {sorted(missing)}; got {shown(record)}.")
        frame = cls.__new__(cls)
        frame._record = copy.deepcopy(dict(record))
        return frame

    def to_json(self) -> dict[str, Any]:
        """The frame as plain values; groups are in the order of :meth:`shrunk`."""
        return copy.deepcopy(self._record)

    @property
    def overall(self) -> Estimate:
        """The mean over all pairs."""
        return Estimate(name="all", **self._record["overall"])

    @property
    def groups(self) -> tuple[Estimate, ...]:
        """One estimate a group, the worst-off first by :meth:`shrunk`, empty ones last."""
        return tuple(Estimate(**group) for group in self._record["groups"])

    def group(self, name: str) -> Estimate:
        """The estimate of one group.

        Raises:
            DataError: with the nearest name, if there is no such group.
        """
        for group in self.groups:
            if group.name == name:
                return group
        known = [group.name for group in self.groups]
        raise DataError(f"there is no group {name!r}; {nearest(name, known)}")

    def worst(self) -> Estimate:
        """The group first in :meth:`shrunk`, of those with more than one pair if any.

        With groups of like size that is the one with the lowest mean; a group of 8 with a
        mean as low by luck does not come before one that is known to be badly served.
        """
        return self.group(self._record["worst"])

    def best(self) -> Estimate:
        """The group last in :meth:`shrunk`, of those with more than one pair if any."""
        return self.group(self._record["best"])

    def gap(self) -> Estimate:
        """Best minus worst; its interval allows for the search among noisy groups."""
        return self._spread("gap")

    def ratio(self) -> Estimate:
        """Worst over best; without a value where a mean is negative or all are zero."""
        return self._spread("ratio")

    def shrunk(self) -> tuple[Estimate, ...]:
        """Means drawn towards what the groups have in common, the worst-off first.

        The less is known of a group, the further its mean is drawn; how far is learned from
        how much the groups differ. Use them to rank groups and to guess how a small one
        fares. Of one group by itself the plain mean says what was seen. The intervals hold
        their level on average over groups like these, not for each: a group that is truly
        unlike all others is drawn too far.

        Raises:
            DataError: if the frame comes from a record without them.

        Example:
            >>> from pluralign import Preferences, ScoredPairs
            >>> from pluralign.audit import GroupFrame, ranking_accuracy
            >>> outcomes = {"few": [0, 0, 1, 1], "a": [0] * 40 + [1] * 60}
            >>> outcomes |= {name: [0] * 30 + [1] * 70 for name in "bcdef"}
            >>> rows = [dict(prompt="p", chosen="a", rejected="b", group=group)
            ...     for group, right in outcomes.items() for _ in right]
            >>> right = [float(one) for right in outcomes.values() for one in right]
            >>> scored = ScoredPairs(Preferences.from_records(rows),
            ...     chosen=right, rejected=[0.5] * len(rows))
            >>> worst, second, *_ = GroupFrame(ranking_accuracy, scored).shrunk()
            >>> worst.name, round(worst.value, 2), second.name, round(second.value, 2)
            ('a', 0.66, 'few', 0.67)
        """
        return tuple(Estimate(**group) for group in self._part("shrunk"))

    def adjusted(self) -> tuple[GroupTest, ...]:
        """Whether each group differs, with p-values adjusted for the number of groups.

        In a frame of one model a group is compared with all pairs outside it, in a frame of
        :func:`compare` its difference with zero. Among the groups with ``adjusted <= 0.05``
        5 % are expected to be there wrongly (Benjamini and Hochberg). In the order of
        :meth:`shrunk`.

        Raises:
            DataError: if the frame comes from a record without them.
        """
        return tuple(GroupTest(**test) for test in self._part("tests")["groups"])

    def _part(self, key: str) -> Any:
        if key not in self._record:
            raise DataError(f"the record of this frame has no {key!r}; audit again.")
        return self._record[key]

    def _spread(self, key: str) -> Estimate:
        return Estimate(name=key, n=self._record["overall"]["n"], **self._record[key])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupFrame) and self._record == other._record

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        rows = [*self.groups, self.overall]
        width = max(len(row.name) for row in rows)
        lines = [f"{self._record['metric']} by {self._record['by']}"]
        for row in rows:
            interval = "" if row.low is None else f"  [{row.low:.3f}, {row.high:.3f}]"
            value = "  –  " if row.value is None else f"{row.value:.3f}"
            lines.append(f"{row.name:<{width}}  n={row.n}  {value}{interval}  {row.flag}".rstrip())
        return "\n".join(lines)


def compare(
    metric: Metric,
    scored_a: ScoredPairs,
    scored_b: ScoredPairs,
    by: str | Sequence[str] = "group",
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
    levels: Iterable[str] = (),
) -> GroupFrame:
    """Paired differences of a metric between two models, a minus b, by group.

    Rows are matched by pair id; a pair counts where both models have a value. The worst
    group of the frame is the one that gains least from a. Intervals: Tango's score
    interval where the metric is 0 or 1, else the bootstrap-t.

    Args:
        metric: as for :class:`GroupFrame`.
        scored_a: pairs scored by the first model; groups and weights are taken from here.
        scored_b: the same pairs, in any order, scored by the second.
        by: column or columns to slice by.
        confidence: level of the intervals.
        n_bootstrap: number of draws.
        seed: of the draws.
        levels: groups to show even where they have no pair.

    Raises:
        IncompatibleError: if the two were not scored on the same pairs.
    """
    differences = _values(metric, scored_a) - _aligned(scored_a, scored_b, metric)
    finite = differences[np.isfinite(differences)]
    return GroupFrame.from_json(
        frame_record(
            differences,
            scored_a.pairs,
            metric=f"{_name(metric)} (a minus b)",
            by=by,
            method="paired_score" if np.isin(finite, (-1.0, 0.0, 1.0)).all() else "bootstrap_t",
            settings=Settings(confidence=confidence, n_bootstrap=n_bootstrap, seed=seed),
            levels=levels,
            against="zero",
        )
    )


def _values(metric: Metric, scored: ScoredPairs) -> Floats:
    values = np.asarray(metric(scored), dtype=np.float64)
    if values.shape != (len(scored),):
        raise IncompatibleError(
            f"{_name(metric)} gave shape {values.shape} for {len(scored)} pairs; "
            "a metric gives one value a pair."
        )
    if np.isinf(values).any():
        raise DataError(
            f"{_name(metric)} is infinite for some pairs; NaN leaves a pair out.",
            source=scored.pairs.source,
            rows=np.flatnonzero(np.isinf(values)).tolist(),
        )
    return values


def _aligned(scored_a: ScoredPairs, scored_b: ScoredPairs, metric: Metric) -> Floats:
    place = {name: row for row, name in enumerate(scored_b.pairs.pair_id)}
    ids = scored_a.pairs.pair_id
    lost = [name for name in ids if name not in place]
    if lost or len(ids) != len(place):
        extra = sorted(set(place) - set(ids))
        raise IncompatibleError(
            f"the two models were not scored on the same pairs: {len(lost)} of the first "
            f"({shown(lost[:3])}) and {len(extra)} of the second ({shown(extra[:3])}) have no "
            "partner; score both on one set."
        )
    order = np.array([place[name] for name in ids])
    different = [
        i
        for i, j in enumerate(order.tolist())
        if scored_a.pairs.chosen[i] != scored_b.pairs.chosen[j]
    ]
    if different:
        raise IncompatibleError(
            f"pair {ids[different[0]]!r} has another chosen response in the second set; "
            "score both models on one set."
        )
    return _values(metric, scored_b)[order]


def _name(metric: Metric) -> str:
    if isinstance(metric, functools.partial):
        options = ", ".join(f"{key}={value!r}" for key, value in metric.keywords.items())
        return f"{_name(metric.func)}({options})"
    return getattr(metric, "__name__", type(metric).__name__)
