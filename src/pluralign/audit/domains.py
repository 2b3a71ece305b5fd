"""The adaptivity gap: how wrong each domain's head is on a labelled target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError


@final
@dataclass(frozen=True, kw_only=True)
class AdaptivityGap:
    """Errors of heads and of their mixture on rows whose labels are known.

    Args:
        error_per_head: ``(H,)`` share of wrong hard predictions.
        best_head: the head of least error, the lowest index of equals.
        best_error: its error; what perfect selection of one head would leave.
        soft_gap_per_head: ``(H,)`` mean probability that is not on the label (half the L1
            distance to it).
        soft_gap_of_mixture: the same of the mixture.
        upper_bound: weighted mean of the heads' soft gaps; never below the mixture's.
    """

    error_per_head: list[float]
    best_head: int
    best_error: float
    soft_gap_per_head: list[float]
    soft_gap_of_mixture: float
    upper_bound: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for records."""
        return asdict(self)


def domain_table(
    right: ArrayLike, domains: Sequence[Any], columns: Sequence[str]
) -> dict[str, Any]:
    """Accuracy of each head, or way of combining heads, on each domain, for the report.

    Use it with the heads' predictions on rows of known labels and domains: a row says which head
    serves a domain, a column whom a head leaves out.

    Args:
        right: ``(C, N)`` whether each of C heads or ways is right on each of N rows.
        domains: ``N`` names.
        columns: C names.

    Returns:
        Plain values: ``columns`` and ``rows`` with ``name``, ``n`` and ``values``.

    Raises:
        DataError: for shapes that do not fit.

    Example:
        >>> table = domain_table([[1, 1, 0], [0, 1, 1]], ["a", "a", "b"], ["own", "shared"])
        >>> [(row["name"], row["n"], row["values"]) for row in table["rows"]]
        [('a', 2, [1.0, 0.5]), ('b', 1, [0.0, 1.0])]
    """
    table = np.asarray(right, dtype=np.float64)
    names = np.array([str(name) for name in domains])
    if table.shape != (len(columns), len(names)) or not table.size:
        raise DataError(
            f"right must be (columns, rows) = ({len(columns)}, {len(names)}); got {table.shape}."
        )
    rows = [
        {
            "name": str(name),
            "n": int((names == name).sum()),
            "values": table[:, names == name].mean(1).tolist(),
        }
        for name in np.unique(names)
    ]
    return {"measure": "accuracy", "columns": list(columns), "rows": rows}


def adaptivity_gap(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike,
    predictions: ArrayLike | None = None,
) -> AdaptivityGap:
    """How far source heads, and a mixture of them, are from the target's labels.

    Use it on a labelled target to see what selection among heads could reach at best. A large
    gap of the best head cannot be mended by weighing heads.

    Args:
        labels: ``(N,)`` classes.
        probabilities: ``(H, N, K)`` predictions of the heads.
        weights: ``(H,)`` of the mixture, summing to 1.
        predictions: ``(H, N)`` hard predictions; the likeliest classes by default.

    Raises:
        DataError: for shapes that do not fit, or weights that do not sum to 1.

    Example:
        >>> gap = adaptivity_gap([0, 1], [[[1, 0], [0, 1]], [[0, 1], [0, 1]]], [0.5, 0.5])
        >>> gap.error_per_head, gap.best_head, gap.soft_gap_of_mixture
        ([0.0, 0.5], 0, 0.25)
    """
    y, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if p.ndim != 3 or y.shape != p.shape[1:2] or w.shape != p.shape[:1] or not len(y):
        raise DataError(
            f"probabilities must be (H, N, K) with labels (N,) and weights (H,); got {p.shape}, "
            f"{y.shape} and {w.shape}."
        )
    if (w < 0).any() or abs(w.sum() - 1) > 1e-6:
        raise DataError(f"weights must be >= 0 and sum to 1; they sum to {w.sum():.6g}.")
    hard = p.argmax(-1) if predictions is None else np.asarray(predictions)
    error = (hard != y).mean(1)
    onehot = np.eye(p.shape[2])[y]
    soft = 0.5 * np.abs(p - onehot).sum(-1).mean(1)
    mixture = np.tensordot(w, p, axes=1)
    return AdaptivityGap(
        error_per_head=error.tolist(),
        best_head=int(error.argmin()),
        best_error=float(error.min()),
        soft_gap_per_head=soft.tolist(),
        soft_gap_of_mixture=float(0.5 * np.abs(mixture - onehot).sum(-1).mean()),
        upper_bound=float(w @ soft),
    )
