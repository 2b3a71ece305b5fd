"""``flip_rate``: how often the labels of a data set are reversed, overall or by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from ..data import Preferences, ScoredPairs, Text
from ..errors import DataError, IncompatibleError, ParameterError
from ..rules import nearest
from .frames import group_labels, numbered
from .noise import FlipRate, Interval, from_double_annotation, from_gold, from_margins
from .ranking import implicit_margin

Method: TypeAlias = Literal["gold", "double_annotation", "duplicates", "em"]
Rows: TypeAlias = NDArray[np.int64]
Estimate: TypeAlias = Callable[[Rows], FlipRate]  # from the rows of a group
_METHODS = ("gold", "double_annotation", "duplicates", "em")


@overload
def flip_rate(  # noqa: D418
    data: Preferences | ScoredPairs,
    method: Method,
    *,
    by: None = None,
    confidence: float = 0.95,
    interval: Interval = "exact",
) -> FlipRate:
    """One estimate for all pairs."""
    ...


@overload
def flip_rate(  # noqa: D418
    data: Preferences | ScoredPairs,
    method: Method,
    *,
    by: str | Sequence[str],
    confidence: float = 0.95,
    interval: Interval = "exact",
) -> dict[str, FlipRate]:
    """One estimate a group."""
    ...


def flip_rate(
    data: Preferences | ScoredPairs,
    method: Method,
    *,
    by: str | Sequence[str] | None = None,
    confidence: float = 0.95,
    interval: Interval = "exact",
) -> FlipRate | dict[str, FlipRate]:
    """Estimate the probability that a label is reversed, with an interval.

    Use ``"gold"`` wherever some true labels are known; it alone assumes nothing of people
    or models. ``"double_annotation"`` and ``"duplicates"`` give an upper bound, since true
    disagreement counts as noise; ``"em"`` trusts a model. When unsure take the lower end:
    an overstated rate does more harm than an understated one.

    Args:
        data: pairs; scored pairs for ``"em"``.
        method: ``"gold"``: the attribute ``gold`` is 1 where the observed label is known to
            be right, 0 where known to be wrong, NaN elsewhere. ``"double_annotation"``: pairs
            with the same prompt and the same two responses, in either order, labelled by
            different annotators. ``"duplicates"``: the same by anyone, for sets without
            annotators. ``"em"``: the scored pairs' margins times their ``beta``.
        by: column or columns to estimate for each group; ``None`` for one estimate.
        confidence: level of the intervals.
        interval: as in :func:`~pluralign.audit.noise.from_gold`.

    Returns:
        One estimate, or one by name of the group, in alphabetical order.

    Raises:
        DataError: if the evidence is missing, naming the groups that have none.
        IncompatibleError: if ``"em"`` gets pairs without scores or beta.
        ParameterError: for an unknown method.

    Example:
        >>> rows = [dict(prompt="p", chosen="a", rejected="b", gold=g) for g in (1, 1, 1, 0)]
        >>> flip_rate(Preferences.from_records(rows, attributes=["gold"]), "gold").value
        0.25

    References:
        Chowdhury et al., 2024, arXiv 2403.00409; ours in the procedure.
    """
    if method not in _METHODS:
        raise ParameterError(f"there is no method {method!r}; {nearest(str(method), _METHODS)}")
    pairs = data.pairs if isinstance(data, ScoredPairs) else data
    if method == "em":
        estimate = _from_model(data, confidence)
    elif method == "gold":
        estimate = _from_gold(pairs, confidence, interval)
    else:
        estimate = _from_repeats(pairs, method, confidence, interval)
    if by is None:
        return estimate(np.arange(len(pairs)))
    names, index = numbered(group_labels(pairs, by))
    found: dict[str, FlipRate] = {}
    without: list[str] = []
    for place, name in enumerate(names):
        try:
            found[name] = replace(estimate(np.flatnonzero(index == place)), group=name)
        except DataError as error:
            without.append(f"{name!r} ({error})")
    if without:
        raise DataError(
            f"no flip rate by {method!r} for {len(without)} of {len(without) + len(found)} groups: "
            f"{'; '.join(without[:5])}. Gather evidence there, or estimate without by.",
            source=pairs.source,
        )
    return found


def _from_gold(pairs: Preferences, confidence: float, interval: Interval) -> Estimate:
    gold = pairs.attributes.get("gold")
    if gold is None:
        raise DataError(
            "method 'gold' needs an attribute 'gold': 1 where a label is known to be right, 0 "
            f"where known to be wrong, NaN elsewhere; the attributes are {[*pairs.attributes]}.",
            source=pairs.source,
        )
    bad = np.flatnonzero(~(np.isnan(gold) | np.isin(gold, (0.0, 1.0)))).tolist()
    if bad:
        raise DataError(
            f"gold must be 1, 0 or NaN; row {bad[0]} has {gold[bad[0]]}.",
            source=pairs.source,
            rows=bad,
        )

    def estimate(rows: Rows) -> FlipRate:
        known = gold[rows][~np.isnan(gold[rows])]
        return from_gold(
            float((known == 0).sum()), len(known), confidence=confidence, interval=interval
        )

    return estimate


def _from_repeats(
    pairs: Preferences, method: str, confidence: float, interval: Interval
) -> Estimate:
    if method == "double_annotation" and pairs.annotator is None:
        raise DataError(
            "method 'double_annotation' needs an 'annotator' column; method 'duplicates' takes "
            "every row as another annotator.",
            source=pairs.source,
        )

    by_whom = pairs.pair_id if method == "duplicates" else (pairs.annotator or ())

    def estimate(rows: Rows) -> FlipRate:
        items: dict[Any, list[tuple[str, bool]]] = defaultdict(list)
        for row in rows.tolist():
            texts = [_key(text) for text in (pairs.chosen[row], pairs.rejected[row])]
            if texts[0] == texts[1]:
                continue  # nothing to disagree about
            key = (_key(pairs.prompt[row]), *sorted(texts))
            items[key].append((str(by_whom[row]), texts[0] < texts[1]))
        agreements = [a for a in map(_agreement, items.values()) if a is not None]
        rate = from_double_annotation(
            sum(agreements), len(agreements), confidence=confidence, interval=interval
        )
        return replace(rate, method=method)

    return estimate


def _agreement(votes: list[tuple[str, bool]]) -> float | None:
    """Share of the pairs of different annotators that agree; ``None`` without such a pair."""
    alike = [a[1] == b[1] for a, b in combinations(votes, 2) if a[0] != b[0]]
    return sum(alike) / len(alike) if alike else None


def _from_model(data: Preferences | ScoredPairs, confidence: float) -> Estimate:
    if not isinstance(data, ScoredPairs) or data.beta is None:
        got = "pairs without beta" if isinstance(data, ScoredPairs) else "pairs without scores"
        raise IncompatibleError(
            f"method 'em' needs ScoredPairs with margins and beta; got {got}. Score held-out "
            "pairs with a trainer's scores(), or use 'gold' or 'double_annotation'."
        )
    margins = data.beta * implicit_margin(data)

    def estimate(rows: Rows) -> FlipRate:
        kept = margins[rows]
        return from_margins(kept[np.isfinite(kept)], confidence=confidence)

    return estimate


def _key(text: Text) -> str:
    return (
        text
        if isinstance(text, str)
        else repr([dict(t) if isinstance(t, Mapping) else t for t in text])
    )
