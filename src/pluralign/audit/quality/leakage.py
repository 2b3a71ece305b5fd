"""Evaluation pairs and prompts that the training set has already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .findings import Finding, Severity, first_ids
from .ledger import Ledger
from .sketch import ALIKE, bands, likeness
from .votes import items


def leak_findings(train: Ledger, evaluation: Ledger) -> list[Finding]:
    """Equal pairs, equal prompts and nearly equal prompts across the split, each row once."""
    pair = _matches(items(train), items(evaluation))
    prompt = _matches(train.form[:, 0], evaluation.form[:, 0])
    near = _near(train.sketches[:, 0], evaluation.sketches[:, 0])
    unseen = evaluation.length[:, 0] == 0  # without a prompt of its own only the pair counts
    prompt[unseen | (pair >= 0)] = -1
    near[unseen | (pair >= 0) | (prompt >= 0)] = -1
    found = [
        _finding(
            "leaked_pairs",
            "error",
            "evaluation pairs are in the training set too (either way round)",
            pair,
        ),
        _finding(
            "leaked_prompts",
            "warning",
            "evaluation pairs are new but have a prompt of the training set",
            prompt,
        ),
        _finding(
            "leaked_near_prompts",
            "warning",
            "evaluation pairs are new but have nearly a prompt of the training set",
            near,
        ),
    ]
    return [_named(finding, evaluation.names) for finding in found if finding.count]


def _matches(known: NDArray[np.uint64], asked: NDArray[np.uint64]) -> NDArray[np.int64]:
    """First row of ``known`` with the key that each of ``asked`` has; -1 for none."""
    keys, first = np.unique(known, return_index=True)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, first[place], -1)


def _near(train: NDArray[np.uint16], evaluation: NDArray[np.uint16]) -> NDArray[np.int64]:
    """A row of ``train`` whose sketch is alike, the likest of one candidate per band."""
    best = np.full(len(evaluation), -1, dtype=np.int64)
    score = np.full(len(evaluation), ALIKE - 1e-9)
    for known, asked in zip(bands(train), bands(evaluation), strict=True):
        match = _matches(known, asked)
        like = likeness(train[match], evaluation)
        better = (match >= 0) & (like > score)
        best[better], score[better] = match[better], like[better]
    return best


def _finding(key: str, severity: Severity, what: str, match: NDArray[np.int64]) -> Finding:
    rows = np.flatnonzero(match >= 0)
    return Finding(
        key,
        severity,
        f"{len(rows):,} of {len(match):,} {what}.",
        len(rows),
        tuple(rows.tolist()),
        data={"rows_of": "evaluation", "train_rows": match[rows].tolist()},
    )


def _named(finding: Finding, names: Sequence[str] | None) -> Finding:
    """With the evaluation set's own pair ids."""
    return replace(finding, ids=first_ids(finding.rows, names))
