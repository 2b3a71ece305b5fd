"""From reward vectors to the choice: project on the target, take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from .sphere import Floats

Bools = NDArray[np.bool_]
Standardise = Literal["none", "pool"]
Aggregate = Literal["mean", "min"]


def project(rewards: ArrayLike, target: ArrayLike) -> Floats:
    """Score of each candidate at the target: ``rewards @ target``, shape (..., k).

    Args:
        rewards: (..., k, d).
        target: (d,), or one for each leading index, (..., d); used as given.

    Raises:
        DataError: if rewards and target have different numbers of attributes.

    Example:
        >>> project([[60.0, 30.0], [70.0, 20.0]], (0.6, 0.8)).tolist()
        [60.0, 58.0]
    """
    r = np.asarray(rewards, dtype=np.float64)
    v = np.asarray(target, dtype=np.float64)
    if r.ndim < 2 or v.ndim < 1 or r.shape[-1] != v.shape[-1]:
        raise DataError(
            f"the target has {v.shape[-1] if v.ndim else 0} values and the rewards have "
            f"{r.shape[-1] if r.ndim > 1 else 0} attributes; they must be the same."
        )
    # Not a matrix product: equal rows must give equal scores to the last bit, for ties.
    return (r * v[..., None, :]).sum(axis=-1)


def choose(scores: ArrayLike, ok: ArrayLike | None = None) -> int | None:
    """Number of the highest score, the first of equals; ``None`` if nothing is ok.

    Args:
        scores: (k,).
        ok: (k,) what may be chosen; ``None`` for all.

    Example:
        >>> choose([1.0, 3.0, 3.0]), choose([9.0, 3.0], ok=[False, True]), choose([1.0], [False])
        (1, 1, None)
    """
    values = np.asarray(scores, dtype=np.float64)
    allowed = np.ones(values.shape, dtype=np.bool_) if ok is None else np.asarray(ok)
    if not allowed.any():
        return None
    return int(np.where(allowed, values, -np.inf).argmax())


@final
@dataclass(frozen=True)
class Scored:
    """A pool after scoring: see the fields of the same names of ``Selection``."""

    rewards: Floats
    standardised: Floats | None
    ok: Bools
    scores: Floats


def scored_pool(
    rewards: Floats,
    ok: Bools,
    target: Floats,
    *,
    standardise: Standardise = "none",
    aggregate: Aggregate = "mean",
) -> Scored:
    """Scores of one prompt's candidates under several scorers.

    ``"mean"`` averages the scorers; ``"min"`` judges each candidate by the scorer that likes
    it least at the target, and keeps that scorer's rewards, so that the scores are the
    rewards projected on the target either way.

    Args:
        rewards: (s, m, d) of s scorers.
        ok: (s, m).
        target: unit vector (d,).
        standardise: ``"pool"`` takes z-scores over this pool first, scorer by scorer.
        aggregate: ``"mean"`` or ``"min"``.
    """
    good: Bools = np.asarray(ok.all(axis=0))
    used = _z_scores(rewards, good) if standardise == "pool" else rewards
    if aggregate == "mean":
        kept, basis = rewards.mean(axis=0), used.mean(axis=0)
    else:
        least = np.where(good, project(used, target), 0.0).argmin(axis=0)
        each = np.arange(rewards.shape[1])
        kept, basis = rewards[least, each], used[least, each]
    kept, basis = (np.where(good[:, None], rows, np.nan) for rows in (kept, basis))
    scores = np.where(good, project(basis, target), -np.inf)
    return Scored(kept, basis if standardise == "pool" else None, good, scores)


def _z_scores(rewards: Floats, good: Bools) -> Floats:
    """Mean 0 and standard deviation 1 over the pool; 0 where an attribute is constant."""
    if not good.any():
        return rewards
    pool: Any = rewards[:, good]
    centre, width = pool.mean(axis=1, keepdims=True), pool.std(axis=1, keepdims=True)
    flat = width <= 1e-12 * np.abs(centre)
    return np.where(flat, 0.0, (rewards - centre) / np.where(flat, 1.0, width))
