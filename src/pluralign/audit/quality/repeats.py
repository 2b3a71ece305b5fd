"""Pairs that come again: copies, near-copies, contradictions, circles."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..noise import from_double_annotation
from .findings import Finding, pairs_of, percent, percents
from .ledger import Ledger
from .sketch import ALIKE, N_BANDS, keys, likeness, mix, slots
from .votes import TIE, items, vote_counts, votes

_CLUSTERS_KEPT = 1000


def repeat_findings(ledger: Ledger, confidence: float) -> list[Finding]:
    """Duplicates, near-duplicates, conflicting and outvoted labels."""
    return [
        *_duplicates(ledger),
        *_near_duplicates(ledger),
        *_conflicts(ledger, confidence),
        *_outvoted(ledger),
    ]


def _duplicates(ledger: Ledger) -> list[Finding]:
    """Later copies of the same pair with the same label by the same annotator."""
    key = mix(items(ledger), votes(ledger).astype(np.uint64), ledger.annotator.astype(np.uint64))
    first = _first_with(key)
    rows = np.flatnonzero(first != np.arange(len(ledger)))
    if not len(rows):
        return []
    return [
        Finding(
            "duplicates",
            "error" if len(rows) > 0.01 * len(ledger) else "warning",
            f"{pairs_of(len(rows), len(ledger))} are exact copies of an earlier one "
            "(same prompt, responses, label and annotator).",
            len(rows),
            tuple(rows.tolist()),
            data={"clusters": _clusters(rows, first), "groups": ledger.by_group(rows)},
        )
    ]


def _near_duplicates(ledger: Ledger) -> list[Finding]:
    """Pairs of which prompt and both responses are nearly those of an earlier one."""
    item = items(ledger)
    own = np.flatnonzero(_first_with(item) == np.arange(len(ledger)))
    links = _links(ledger.sketches, own)
    if not len(links):
        return []
    first = own[_components(links, len(own))]
    rows = own[first != own]
    first = first[first != own]
    opposite = _opposite(ledger.sketches, rows, first)
    return [
        Finding(
            "near_duplicates",
            "warning",
            f"{pairs_of(len(rows), len(ledger))} are nearly an earlier one (prompt and both "
            f"responses share about {percent(ALIKE)} of their text or more); "
            f"{int(opposite.sum())} of them have the opposite label.",
            len(rows),
            tuple(rows.tolist()),
            data={
                "clusters": _clusters(rows, dict(zip(rows.tolist(), first.tolist(), strict=True))),
                "opposite": rows[opposite].tolist(),
                "groups": ledger.by_group(rows),
            },
        )
    ]


def _links(sketches: NDArray[np.uint16], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Alike places ``(L, 2)`` in ``own``: rows that share a band of prompt and responses.

    Links are checked band by band, so that only those that hold are kept.
    """
    links = np.empty((0, 2), dtype=np.int64)
    for answer in range(N_BANDS):
        # The smaller of two sketches is that of the union of the two responses.
        responses = np.minimum(slots(sketches[:, 1], answer), slots(sketches[:, 2], answer))
        answers = keys(responses)[own]
        for prompt in range(N_BANDS):
            prompts = keys(slots(sketches[:, 0], prompt))[own]
            found = _candidates(mix(prompts, answers))
            found = found[_alike(sketches, own[found[:, 0]], own[found[:, 1]])]
            if len(found):
                links = np.unique(np.concatenate([links, found]), axis=0)
    return links


def _candidates(key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Places ``(L, 2)`` with one key: each with the first of its run and the one before it.

    Linear in the number of rows, however long the runs.
    """
    order, start = _sorted_runs(key)
    again = np.flatnonzero(start < np.arange(len(order)))
    row, first, before = order[again], order[start[again]], order[again - 1]
    found = np.stack([np.concatenate([first, before]), np.concatenate([row, row])], axis=1)
    return np.unique(np.sort(found, axis=1), axis=0)


def _alike(
    sketches: NDArray[np.uint16], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.bool_]:
    same = _same_way(sketches, a, b, 1, 2) | _same_way(sketches, a, b, 2, 1)
    return (likeness(sketches[a, 0], sketches[b, 0]) >= ALIKE) & same


def _same_way(
    sketches: NDArray[np.uint16], a: NDArray[np.int64], b: NDArray[np.int64], one: int, two: int
) -> NDArray[np.bool_]:
    return (likeness(sketches[a, 1], sketches[b, one]) >= ALIKE) & (
        likeness(sketches[a, 2], sketches[b, two]) >= ALIKE
    )


def _opposite(
    sketches: NDArray[np.uint16], rows: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether chosen is nearer to the other's rejected than to its chosen."""
    straight = likeness(sketches[rows, 1], sketches[first, 1])
    crossed = likeness(sketches[rows, 1], sketches[first, 2])
    return crossed > straight


def _conflicts(ledger: Ledger, confidence: float) -> list[Finding]:
    item, vote = items(ledger), votes(ledger)
    code = np.unique(item, return_inverse=True)[1]
    counts = vote_counts(item, vote)[:, :TIE]
    torn = np.all(counts > 0, axis=1)
    rows = np.flatnonzero(torn[code] & (vote != TIE))
    if not len(rows):
        return []
    data = _agreement(counts, confidence)
    bound, own = data["flip_rate_bound"], _within_annotator(ledger, item, vote)
    alone = bool((ledger.annotator < 0).all())
    groups = [
        {"name": name, **found}
        for name, member in ledger.members()
        if (found := _agreement(vote_counts(item[member], vote[member])[:, :TIE], confidence))
    ]
    return [
        Finding(
            "conflicting_votes",
            "warning" if alone or own else "note",
            f"{data['conflicting']:,} of {data['repeated']:,} pairs judged more than once have "
            f"opposite labels ({len(rows):,} rows); if people agreed in truth, the flip rate is at "
            f"most {percents(bound['value'], bound['low'], bound['high'])}.",
            len(rows),
            tuple(rows.tolist()),
            data={**data, "same_annotator": own, "groups": groups},
        )
    ]


def _agreement(counts: NDArray[np.int64], confidence: float) -> dict[str, Any]:
    """Agreement of votes on pairs judged more than once; empty if there are none."""
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        return {}
    size = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (size * (size - 1))
    bound = from_double_annotation(float(agreeing.sum()), len(counts), confidence=confidence)
    return {
        "repeated": len(counts),
        "conflicting": int(np.all(counts > 0, axis=1).sum()),
        "agreement": float(agreeing.mean()),
        "flip_rate_bound": asdict(bound),
    }


def _within_annotator(ledger: Ledger, item: NDArray[Any], vote: NDArray[np.int64]) -> int:
    """Number of (annotator, pair) with both labels: noise whoever is right."""
    known = ledger.annotator >= 0
    if not known.any():
        return 0
    key = mix(item[known], ledger.annotator[known].astype(np.uint64))
    counts = vote_counts(key, vote[known])
    return int((counts[:, :TIE] > 0).all(axis=1).sum())


def _outvoted(ledger: Ledger) -> list[Finding]:
    """Rows against a strict majority of at least three votes on the same pair."""
    item, vote = items(ledger), votes(ledger)
    code = np.unique(item, return_inverse=True)[1]
    wins = vote_counts(item, vote)[:, :TIE]
    majority = np.where(wins[:, 0] > wins[:, 1], 0, 1)
    decided = (wins.sum(axis=1) > 2) & (wins[:, 0] != wins[:, 1])
    rows = np.flatnonzero(decided[code] & (vote != TIE) & (vote != majority[code]))
    if not len(rows):
        return []
    judged = np.flatnonzero(decided[code] & (vote != TIE))
    return [
        Finding(
            "outvoted",
            "warning" if bool((ledger.annotator < 0).all()) else "note",
            f"{len(rows):,} of {len(judged):,} votes on pairs judged three times or more go "
            "against the majority.",
            len(rows),
            tuple(rows.tolist()),
            data={"groups": ledger.by_group(rows), "judged": ledger.by_group(judged)},
        )
    ]


def _first_with(key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The first row that has the same key, for each row ``(N,)``."""
    _, first, code = np.unique(key, return_index=True, return_inverse=True)
    return first[code]


def _sorted_runs(key: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows in order of their key, and the position at which each one's run starts."""
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    new = np.append(True, ranked[1:] != ranked[:-1])
    return order, np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))


def _components(links: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The lowest row that each row is connected with ``(size,)``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(links), dtype=np.int8)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]


def _clusters(rows: NDArray[np.int64], first: Any) -> list[list[int]]:
    """``[first row, copy, copy, ...]`` of each cluster, at most a thousand of them."""
    clusters: dict[int, list[int]] = {}
    for row in rows.tolist():
        clusters.setdefault(int(first[row]), []).append(row)
    return [[start, *copies] for start, copies in sorted(clusters.items())][:_CLUSTERS_KEPT]
