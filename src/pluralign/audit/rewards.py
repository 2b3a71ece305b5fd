"""What a reward model is worth: the best of n answers by it, and accuracy by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, ParameterError


def best_of_first_n(rewards: ArrayLike, metric: ArrayLike, n: int) -> float:
    """Mean metric of the answer that the reward model prefers among the first n.

    Args:
        rewards: ``(P, K)`` rewards of K answers to P prompts; ties go to the lower index.
        metric: ``(P, K)`` what the answers are truly worth.
        n: how many answers are looked at, in [1, K].

    Raises:
        DataError: if the arrays differ in shape or hold NaN.
        ParameterError: if n is out of range.

    Example:
        >>> best_of_first_n([[0.1, 0.9]], [[0.0, 1.0]], n=2)
        1.0

    References:
        Ivison et al., 2024, arXiv 2406.09279.
    """
    reward, worth = _answers(rewards, metric, n)
    return float(worth[np.arange(len(worth)), reward[:, :n].argmax(axis=1)].mean())


def expected_best_of_n(rewards: ArrayLike, metric: ArrayLike, n: int) -> float:
    """Mean metric of the preferred answer over all subsets of n answers, exactly.

    With answers sorted by reward, best first, the answer at place j is the best of
    ``C(K-1-j, n-1)`` of the ``C(K, n)`` subsets. Less variable than the first n.

    Args:
        rewards: ``(P, K)`` rewards; ties go to the lower index.
        metric: ``(P, K)`` what the answers are truly worth.
        n: size of the subsets, in [1, K].

    Raises:
        DataError: if the arrays differ in shape or hold NaN.
        ParameterError: if n is out of range.

    Example:
        >>> expected_best_of_n([[0.1, 0.9, 0.5]], [[0.0, 1.0, 0.5]], n=1)
        0.5

    References:
        Ivison et al., 2024, arXiv 2406.09279.
    """
    reward, worth = _answers(rewards, metric, n)
    k = reward.shape[1]
    order = np.argsort(-reward, axis=1, kind="stable")
    share = np.array([comb(k - 1 - place, n - 1) / comb(k, n) for place in range(k)])
    return float((np.take_along_axis(worth, order, axis=1) @ share).mean())


def section_scores(
    accuracy: Mapping[str, float],
    weights: Mapping[str, float],
    sections: Mapping[str, Sequence[str]],
) -> dict[str, float]:
    """Accuracy of a reward model by section, subsets weighted by their examples.

    Args:
        accuracy: accuracy in [0, 1] of each subset.
        weights: examples of each subset, > 0.
        sections: names of the subsets of each section.

    Returns:
        One score a section, in the order given; the overall score is their plain mean.

    Raises:
        DataError: naming a subset without accuracy or weight.

    Example:
        >>> section_scores({"a": 1.0, "b": 0.5}, {"a": 1, "b": 3}, {"chat": ["a", "b"]})
        {'chat': 0.625}

    References:
        RewardBench's scoring, as used by Ivison et al., 2024, arXiv 2406.09279.
    """
    found: dict[str, float] = {}
    for name, subsets in sections.items():
        missing = [s for s in subsets if s not in accuracy or s not in weights]
        if missing or not subsets:
            raise DataError(f"section {name!r} lacks an accuracy or weight of {missing}.")
        weight = np.array([weights[s] for s in subsets], dtype=np.float64)
        value = np.array([accuracy[s] for s in subsets], dtype=np.float64)
        found[name] = float((weight @ value) / weight.sum())
    return found


def _answers(rewards: ArrayLike, metric: ArrayLike, n: int) -> tuple[np.ndarray, np.ndarray]:
    reward, worth = np.asarray(rewards, dtype=float), np.asarray(metric, dtype=float)
    if reward.ndim != 2 or reward.shape != worth.shape:
        raise DataError(f"rewards {reward.shape} and metric {worth.shape} must both be (P, K).")
    if np.isnan(reward).any() or np.isnan(worth).any():
        raise DataError("rewards or metric hold NaN; leave those answers out.")
    if not 1 <= n <= reward.shape[1]:
        raise ParameterError(f"n must be in [1, {reward.shape[1]}]; got {n}.")
    return reward, worth
