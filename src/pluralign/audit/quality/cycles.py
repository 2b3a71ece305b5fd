"""Preferences that no single ranking can hold: circles among the responses to a prompt.

A flipped label between two responses of which a third one ranks in between closes a circle
of three; a flip between neighbours in the ranking closes none and cannot be seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .findings import Finding, percent
from .ledger import Ledger
from .sketch import mix
from .votes import TIE, votes

_MOST_STEPS = 20_000_000  # of counting triangles; beyond, only who is on a circle is told


def cycle_findings(ledger: Ledger) -> list[Finding]:
    """Rows on a circle of preferences within one prompt (of one annotator or group)."""
    row, tail, head = _edges(ledger)
    if not len(row):
        return []
    on_circle = _on_circle(tail, head)
    if not on_circle.any():
        return []
    triangles, circles = _triangles(tail, head)
    rows = np.sort(row[on_circle])
    checkable = np.sort(row[triangles > 0])
    suspects = np.sort(row[_suspects(tail, head, circles)])
    share = len(rows) / max(len(checkable), len(rows))
    return [
        Finding(
            "cyclic_preferences",
            "warning",
            f"{len(rows):,} pairs lie on a circle of preferences ({percent(share)} of the "
            f"{len(checkable):,} pairs whose responses are compared three ways); "
            f"{len(suspects):,} of them are the likeliest flip of their circles.",
            len(rows),
            tuple(rows.tolist()),
            data={
                "suspects": suspects.tolist(),
                "groups": ledger.by_group(rows),
                "checkable": ledger.by_group(checkable),
                "n_checkable": len(checkable),
            },
        )
    ]


def _edges(ledger: Ledger) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows and nodes of each preference, better response first; contradicted ones left out."""
    judge = np.where(ledger.annotator >= 0, ledger.annotator, ledger.group)
    place = mix(ledger.exact[:, 0], judge.astype(np.uint64))
    often = _at_least_three(place)
    place, vote = place[often], votes(ledger)[often]
    nodes = np.stack([mix(place, ledger.exact[often, part]) for part in (1, 2)])
    code = np.unique(nodes, return_inverse=True)[1].reshape(nodes.shape)
    swapped = ledger.label_prob[often] < 0.5
    tail, head = np.where(swapped, code[1], code[0]), np.where(swapped, code[0], code[1])
    size = np.int64(code.max(initial=0) + 1)
    both = np.isin(tail * size + head, head * size + tail)
    rows = np.flatnonzero((vote != TIE) & ~both & (tail != head))
    key, first = np.unique((tail * size + head)[rows], return_index=True)
    return often[rows[first]], key // size, key % size


def _at_least_three(place: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows, rising, whose key stands in three rows or more: the fewest that make a circle."""
    order = np.argsort(place, kind="stable")
    ranked = place[order]
    third = np.flatnonzero(ranked[2:] == ranked[:-2])
    kept = np.zeros(len(place), dtype=np.bool_)
    for offset in range(3):
        kept[order[third + offset]] = True
    return np.flatnonzero(kept)


def _on_circle(tail: NDArray[np.int64], head: NDArray[np.int64]) -> NDArray[np.bool_]:
    from scipy.sparse.csgraph import connected_components

    label = connected_components(_graph(tail, head), directed=True, connection="strong")[1]
    return label[tail] == label[head]


def _graph(tail: NDArray[np.int64], head: NDArray[np.int64]) -> Any:
    from scipy.sparse import csr_array

    size = int(max(tail.max(), head.max())) + 1
    return csr_array((np.ones(len(tail), dtype=np.int64), (tail, head)), shape=(size, size))


def _triangles(
    tail: NDArray[np.int64], head: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each preference: triangles that it is a side of, and how many of them are circles."""
    nothing = np.zeros(len(tail), dtype=np.int64)
    degree = np.bincount(np.concatenate([tail, head]))
    if int((degree**2).sum()) > _MOST_STEPS:
        return nothing, nothing
    graph = _graph(tail, head)
    either = graph + graph.T
    around = (either @ either)[tail, head]
    back = (graph @ graph)[head, tail]
    return np.asarray(around, dtype=np.int64).ravel(), np.asarray(back, dtype=np.int64).ravel()


def _suspects(
    tail: NDArray[np.int64], head: NDArray[np.int64], circles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Preferences on more circles (at least 2) than any other of their component."""
    from scipy.sparse.csgraph import connected_components

    label = connected_components(_graph(tail, head), directed=True, connection="strong")[1][tail]
    most = np.zeros(int(label.max()) + 1, dtype=np.int64)
    np.maximum.at(most, label, circles)
    top = (circles == most[label]) & (circles > 1)
    return top & (np.bincount(label[top], minlength=len(most))[label] == 1)
