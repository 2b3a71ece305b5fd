"""How far predictions depend on protected attributes: measures, tests, tables by cell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import AnyOf, OneOf, Rule, Within, shown
from .frames import CROSS, numbered

Floats = NDArray[np.float64]
Weighting = Literal["proportion", "equal"]

_LEAST = 1e-10  # probabilities below are taken for this in an entropy, as the authors' code does
_CHUNK = 1 << 21


class IndependenceTest(NamedTuple):
    """Result of a test that predictions do not depend on the attributes.

    Attributes:
        statistic: squared distance covariance (permutation) or correlation (chi-square), U.
        p_value: probability of such a statistic or a larger one under independence.
        method: ``"chi2"`` or ``"permutation"``.
        n: rows.
        n_permutations: 0 for the chi-square test.
    """

    statistic: float
    p_value: float
    method: str
    n: int
    n_permutations: int = 0


def intersection_cells(
    attributes: Mapping[str, Sequence[Any]], *, least: int = 10
) -> tuple[list[str], dict[str, int]]:
    """Name of each row's intersection cell, and the sizes of all cells, smallest first.

    Use it before training and beside every table by cell: a cell of a few rows tells little.

    Args:
        attributes: columns of equal length by name; categories or binned numbers.
        least: cells with fewer rows are named in a warning.

    Returns:
        ``(names, sizes)``: one name a row, such as ``"f × north"``, and rows by name.

    Raises:
        DataError: without columns, or for columns of unequal length.

    Example:
        >>> names, sizes = intersection_cells({"sex": "ffm", "region": "NSS"}, least=1)
        >>> names, sizes["f × S"]
        (['f × N', 'f × S', 'm × S'], 1)
    """
    columns = list(attributes.values())
    lengths = {name: len(column) for name, column in attributes.items()}
    if not columns or len(set(lengths.values())) > 1:
        raise DataError(f"columns of equal length are needed; got {lengths}.")
    names = [CROSS.join(map(str, parts)) for parts in zip(*columns, strict=True)]
    found, index = numbered(names)
    counts = np.bincount(index)
    sizes = {found[i]: int(counts[i]) for i in np.argsort(counts, kind="stable")}
    small = [f"{name} ({size})" for name, size in sizes.items() if size < least]
    if small:
        warnings.warn(
            f"{len(small)} of {len(sizes)} cells have fewer than {least} rows: "
            f"{', '.join(small[:10])}.",
            DataQualityWarning,
            stacklevel=2,
        )
    return names, sizes


def shannon_divergence(pmfs: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Jensen-Shannon divergence of several distributions in bits.

    ``H(sum_g pi_g P_g) - sum_g pi_g H(P_g)``; 0 iff all are equal, at most ``H(pi)``.

    Args:
        pmfs: ``(G, K)`` probabilities, each row summing to 1.
        weights: ``(G,)``, summing to 1; equal by default.

    Raises:
        DataError: for negative entries, or rows or weights that do not sum to 1.

    Example:
        >>> shannon_divergence([[1, 0], [0, 1]])
        1.0
    """
    table = np.asarray(pmfs, dtype=np.float64)
    share = np.full(len(table), 1 / len(table)) if weights is None else np.asarray(weights, float)
    sums = table.sum(1) if table.ndim == 2 else np.zeros(1)
    if table.ndim != 2 or (table < 0).any() or not np.allclose(sums, 1):
        raise DataError(f"each row must be non-negative and sum to 1; the sums are {shown(sums)}.")
    if share.shape != (len(table),) or (share < 0).any() or not math.isclose(share.sum(), 1):
        raise DataError(f"weights must be {len(table)} shares that sum to 1; got {shown(share)}.")
    return float(_entropy(share @ table) - share @ _entropy(table))


def jensen_shannon(
    outputs: ArrayLike,
    groups: Sequence[Any],
    *,
    bandwidth: float | Literal["scott"] = 0.15,
    grid: int = 1000,
    weights: Weighting = "proportion",
) -> float:
    """Jensen-Shannon divergence of the predictions' densities between groups, in bits.

    Use it beside a loss to choose a strength. Values compare only at one bandwidth and one
    unit: at .15 on claim frequencies around .12 the densities are over-smoothed.

    Args:
        outputs: ``(n,)`` predictions.
        groups: ``n`` labels; for intersections see :func:`intersection_cells`.
        bandwidth: of the Gaussian kernel, > 0, in units of the outputs; ``"scott"`` takes
            ``sd n^(-1/5)`` of all outputs.
        grid: points from the least to the greatest output, >= 50.
        weights: of the groups: their share of the rows, or equal.

    Raises:
        ParameterError: for options out of range.
        DataError: for outputs not finite, or a bandwidth too narrow for the grid.

    Example:
        >>> round(jensen_shannon([0.1, 0.2, 0.8, 0.9], "aabb"), 3)
        0.917

    References:
        Lin, 1991; kernel, grid and bandwidth of the authors' lab code.
    """
    _require("bandwidth", bandwidth, AnyOf(Within(0.0, closed="neither"), OneOf("scott")))
    _require("grid", grid, Within(50, integer=True))
    _require("weights", weights, OneOf("proportion", "equal"))
    values, names, index = grouped_outputs(outputs, groups)
    counts = np.bincount(index)
    if np.ptp(values) == 0:
        return 0.0
    wide = values.std(ddof=1) * len(values) ** -0.2 if bandwidth == "scott" else float(bandwidth)
    points = np.linspace(values.min(), values.max(), grid)
    densities = np.stack(
        [kernel_density(values[index == g], points, wide) for g in range(len(names))]
    )
    totals = densities.sum(1, keepdims=True)
    if (totals == 0).any():
        raise DataError(
            f"bandwidth {wide:g} is too narrow for {grid} points over a range of "
            f"{np.ptp(values):g}; widen it or take bandwidth='scott'."
        )
    share = counts / counts.sum() if weights == "proportion" else None
    return shannon_divergence(densities / totals, share)


def between_group_share(
    outputs: ArrayLike,
    groups: Sequence[Any],
    *,
    weighting: Literal["weighted", "unweighted"] = "weighted",
) -> float:
    """Share of the variance of predictions that lies between groups (``UF`` of the paper).

    ``Var(E[yhat | group]) / Var(yhat)``; 0 for constant predictions.

    Args:
        outputs: ``(n,)`` predictions.
        groups: ``n`` labels.
        weighting: ``"weighted"`` by group size, in [0, 1]; ``"unweighted"`` as the authors'
            code: sample variances, tiny groups count as much as large ones, may exceed 1.

    Example:
        >>> between_group_share([0.0, 0.0, 1.0, 1.0], "aabb")
        1.0
    """
    _require("weighting", weighting, OneOf("weighted", "unweighted"))
    values, _, index = grouped_outputs(outputs, groups)
    if np.ptp(values) == 0:
        return 0.0
    counts = np.bincount(index)
    means = np.bincount(index, values) / counts
    if weighting == "unweighted":
        between, total = means.var(ddof=1) if len(means) > 1 else 0.0, values.var(ddof=1)
    else:
        between, total = counts @ (means - values.mean()) ** 2 / len(values), values.var()
    return float(between / total)


def ranked_probability_score(
    outcome: ArrayLike,
    predicted: ArrayLike,
    *,
    kind: Literal["poisson", "binary"] = "poisson",
    max_count: int = 10,
) -> Floats:
    """Ranked probability score ``(n,)`` of each row; lower is better, its mean is proper.

    ``sum_{k=0}^{K} (F(k) - 1[y <= k])^2`` of a Poisson prediction; for a binary outcome
    ``(p - y)^2``, the Brier score.

    Args:
        outcome: ``(n,)`` counts, or 0/1.
        predicted: ``(n,)`` expected counts (rate times exposure) >= 0, or probabilities.
        kind: distribution of the outcome.
        max_count: K, at least the largest count.

    Raises:
        DataError: for a count above K, a probability outside [0, 1] or a negative rate.

    Example:
        >>> ranked_probability_score([1.0], [0.75], kind="binary")
        array([0.0625])
    """
    _require("kind", kind, OneOf("poisson", "binary"))
    truth, means = np.asarray(outcome, np.float64), np.asarray(predicted, np.float64)
    if truth.shape != means.shape or truth.ndim != 1 or not len(truth):
        raise DataError(
            f"outcome {truth.shape} and predicted {means.shape} must be equal, (n,), n >= 1."
        )
    if not np.isfinite(truth).all() or (truth < 0).any():
        raise DataError(f"outcomes must be finite and >= 0; row {_first_bad(truth)} is not.")
    high = 1.0 if kind == "binary" else math.inf
    if not ((means >= 0) & (means <= high)).all():
        raise DataError(f"predicted values of kind {kind!r} must be in [0, {high:g}].")
    if kind == "binary":
        return (means - truth) ** 2
    if truth.max() > max_count:
        raise DataError(f"counts go up to {truth.max():g}; max_count is {max_count}. Raise it.")
    from scipy.stats import poisson

    counts = np.arange(max_count + 1)
    return ((poisson.cdf(counts, means[:, None]) - (truth[:, None] <= counts)) ** 2).sum(1)


def independence_test(
    outputs: ArrayLike,
    attributes: Sequence[ArrayLike],
    *,
    method: Literal["chi2", "permutation"] = "chi2",
    measure: Literal["ccdcov", "jdcov", "sum_marginal"] = "ccdcov",
    n_permutations: int = 1000,
    seed: int = 0,
) -> IndependenceTest:
    """Test that predictions are independent of the attributes taken together.

    ``"chi2"``: ``P(chi2_1 >= n dCor2_U + 1)``, fast and conservative, for ``"ccdcov"`` only.
    ``"permutation"``: ``(1 + #{permuted >= observed}) / (B + 1)``; it permutes the
    predictions and leaves the attributes' dependence among themselves as it is.

    Args:
        outputs: ``(n,)`` predictions, ``n >= 4``.
        attributes: numeric blocks ``(n,)`` or ``(n, q)``, one for each attribute.
        method: see above.
        measure: what the permutation test compares.
        n_permutations: draws, >= 19.
        seed: of the draws.

    Raises:
        ParameterError: for options out of range.
        DataError: for unusable rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> group = rng.integers(0, 2, 200)
        >>> independence_test(group + rng.normal(size=200), [group]).p_value < 0.01
        True

    References:
        Shen, Panda and Vogelstein, 2022 (chi-square). Which side is permuted is ours: the
        paper's lab permutes every block, a test of mutual independence.
    """
    import torch

    from ..objectives.dependence import DistanceCovariance
    from ..objectives.dependence_attributes import Attributes

    _require("method", method, OneOf("chi2", "permutation"))
    _require("n_permutations", n_permutations, Within(19, integer=True))
    if method == "chi2" and measure != "ccdcov":
        raise ParameterError(f"the chi-square test is for measure 'ccdcov'; got {measure!r}.")
    yhat = torch.tensor(np.asarray(outputs, np.float64))
    blocks = Attributes.of([torch.tensor(np.asarray(a, np.float64)) for a in attributes])
    penalty = DistanceCovariance(measure=measure, normalise=method == "chi2")
    observed = penalty(yhat, blocks).item()
    n = len(yhat)
    if method == "chi2":
        from scipy.stats import chi2

        return IndependenceTest(observed, float(chi2.sf(n * observed + 1, 1)), method, n)
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randperm(n, generator=generator) for _ in range(n_permutations))
    above = sum(penalty(yhat[draw], blocks).item() >= observed for draw in draws)
    p_value = (1 + above) / (n_permutations + 1)
    return IndependenceTest(observed, p_value, method, n, n_permutations)


def _require(name: str, value: object, rule: Rule) -> None:
    if not rule.admits(value):
        raise ParameterError(f"{name} must be {rule.wants()}; got {shown(value)}.")


def _first_bad(truth: Floats) -> int:
    return int(np.flatnonzero(~(np.isfinite(truth) & (truth >= 0)))[0])


def _entropy(pmf: Floats) -> Floats:
    return -(pmf * np.log2(np.clip(pmf, _LEAST, 1.0))).sum(-1)


def kernel_density(values: Floats, points: Floats, bandwidth: float) -> Floats:
    """Sums of Gaussian kernels of height 1 around values, at points ``(K,)``."""
    total = np.zeros(len(points))
    step = max(1, _CHUNK // len(points))
    for start in range(0, len(values), step):
        scaled = (points - values[start : start + step, None]) / bandwidth
        total += np.exp(-0.5 * scaled**2).sum(0)
    return total


def grouped_outputs(outputs: ArrayLike, groups: Sequence[Any]) -> tuple[Floats, list[str], Any]:
    """Checked outputs ``(n,)``, names of the groups, and the place of each row's group.

    Raises:
        DataError: for unequal lengths, no rows or values that are not finite.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim != 1 or len(values) != len(groups) or not len(values):
        raise DataError(f"outputs {values.shape} and {len(groups)} groups must be equal, (n,).")
    if not np.isfinite(values).all():
        rows = np.flatnonzero(~np.isfinite(values)).tolist()
        raise DataError(f"output of row {rows[0]} is not finite.", rows=rows)
    return values, *numbered([str(g) for g in groups])
