"""What goes along with the label: length, position; and labels without information."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..intervals import wilson
from .findings import Finding, pairs_of, percents
from .ledger import Ledger
from .statistics import share_interval

_STRONG = (0.4, 0.6)


def balance_findings(ledger: Ledger, confidence: float) -> list[Finding]:
    """Length and position of the chosen response, ties, doubtful labels, weights."""
    return [
        *_length_bias(ledger, confidence),
        *_position_bias(ledger, confidence),
        *_labels(ledger),
    ]


def _length_bias(ledger: Ledger, confidence: float) -> list[Finding]:
    keep = (ledger.label_prob != 0.5) & (ledger.length[:, 1] != ledger.length[:, 2])
    if not keep.any():
        return []
    chars = _longer_wins(ledger, ledger.length, keep, confidence)
    data: dict[str, Any] = {"characters": chars}
    overall = chars["overall"]
    what = f"The longer response wins in {_interval(overall)} of {overall['n']:,} pairs"
    apart = _apart(chars, confidence)
    if apart is not None:
        what += f"; in {apart['name']} in {_interval(apart)}"
    if ledger.tokens is not None:
        counted = (ledger.tokens >= 0).all(axis=1) & (ledger.label_prob != 0.5)
        counted &= ledger.tokens[:, 1] != ledger.tokens[:, 2]
        data["tokens"] = _longer_wins(ledger, ledger.tokens, counted, confidence)
        if counted.any():
            what += f"; counted in tokens, in {_interval(data['tokens']['overall'])}"
    strong = overall["low"] > _STRONG[1] or overall["high"] < _STRONG[0]
    severity = "warning" if strong else "note"
    return [Finding("length_bias", severity, f"{what}.", overall["n"], data=data)]


def _longer_wins(
    ledger: Ledger, length: NDArray[np.int32], keep: NDArray[np.bool_], confidence: float
) -> dict[str, Any]:
    longer = (length[:, 1] > length[:, 2]) != (ledger.label_prob < 0.5)
    return _by_group(ledger, longer, keep, confidence)


def _apart(shares: dict[str, Any], confidence: float) -> dict[str, Any] | None:
    """The group furthest from all, unless luck among so many groups could put it there."""
    overall, groups = shares["overall"]["value"], shares["groups"]
    if len(groups) < 2:
        return None
    furthest = max(groups, key=lambda group: abs(group["value"] - overall))
    strict = 1 - (1 - confidence) / len(groups)
    n = furthest["n_effective"]
    low, high = wilson(furthest["value"] * n, n, strict)
    return None if low <= overall <= high else furthest


def _by_group(
    ledger: Ledger, hits: NDArray[np.bool_], keep: NDArray[np.bool_], confidence: float
) -> dict[str, Any]:
    """The share of hits among the rows kept, overall and in each group that has some."""
    prompt = ledger.exact[:, 0]
    groups = [
        {"name": name, **share_interval(hits[inside], prompt[inside], confidence)}
        for name, member in ledger.members()
        if (inside := member & keep).any()
    ]
    overall = share_interval(hits[keep], _clusters(prompt[keep]), confidence)
    return {"overall": overall, "groups": groups}


def _clusters(prompt: NDArray[np.uint64]) -> NDArray[Any]:
    """Pairs of one prompt are no independent draws, unless all have the same (implicit form)."""
    return np.arange(len(prompt)) if (prompt == prompt[:1]).all() else prompt


def _position_bias(ledger: Ledger, confidence: float) -> list[Finding]:
    known = (ledger.first >= 0) & (ledger.label_prob != 0.5)
    if not known.any():
        return []
    first = (ledger.first == 1) != (ledger.label_prob < 0.5)
    data = _by_group(ledger, first, known, confidence)
    overall = data["overall"]
    if overall["low"] <= 0.5 <= overall["high"]:
        return []
    constant = overall["value"] in (0.0, 1.0)
    what = f"The response shown first wins in {_interval(overall)} of {overall['n']:,} pairs"
    what += "; the position alone gives the label away" if constant else ""
    severity = "error" if constant else "warning"
    return [Finding("position_bias", severity, f"{what}.", overall["n"], data=data)]


def _labels(ledger: Ledger) -> list[Finding]:
    total = len(ledger)
    tied = np.flatnonzero(ledger.label_prob == 0.5)
    below = np.flatnonzero(ledger.label_prob < 0.5)
    unweighted = np.flatnonzero(ledger.weight == 0)
    found: list[Finding] = []
    if len(tied):
        what = f"{pairs_of(len(tied), total)} are ties (label_prob 0.5)."
        found.append(_rows("ties", "note", what, tied, ledger))
    if len(below):
        what = f"{pairs_of(len(below), total)} have a label_prob below 0.5."
        found.append(_rows("label_below_half", "warning", what, below, ledger))
    if len(unweighted):
        what = f"{pairs_of(len(unweighted), total)} have weight zero."
        severity = "error" if len(unweighted) == total else "warning"
        found.append(_rows("zero_weights", severity, what, unweighted, ledger))
    return found


def _rows(key: str, severity: Any, what: str, rows: NDArray[np.int64], ledger: Ledger) -> Finding:
    data = {"groups": ledger.by_group(rows)}
    return Finding(key, severity, what, len(rows), tuple(rows.tolist()), data=data)


def _interval(share: dict[str, float]) -> str:
    return percents(share["value"], share["low"], share["high"])
