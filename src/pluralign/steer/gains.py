"""Whether neighbours are better than the target itself, from scores side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .sphere import Floats, angle_between, unit

_ENOUGH = 2


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Coverage:
    """Mean score at the target by neighbour, and what each gains over the target direction.

    Row 0 is the target direction itself.

    Args:
        target: unit vector (d,).
        directions: (m, d).
        angles_deg: (m,) from the target; signed in two dimensions.
        n: (m,) prompts with a score there.
        means: (m,) mean score at the target.
        standard_errors: (m,) of the means over prompts.
        gains: (m,) mean difference to the target direction, prompt by prompt; 0 in row 0.
        gain_errors: (m,) standard errors of the gains, paired by prompt.
        threshold: how many standard errors a gain must exceed to count.
        generations: what the diagnosis cost.
    """

    target: Floats
    directions: Floats
    angles_deg: Floats
    n: np.ndarray[Any, np.dtype[np.int64]]
    means: Floats
    standard_errors: Floats
    gains: Floats
    gain_errors: Floats
    threshold: float
    generations: int = 0

    @property
    def best(self) -> int:
        """Row of the neighbour with the surest gain, in standard errors; 0 if none gains."""
        return int(self._surety().argmax())

    @property
    def helps(self) -> bool:
        """Whether some neighbour's gain exceeds ``threshold`` standard errors."""
        return bool(self._surety().max() > self.threshold)

    def __str__(self) -> str:
        """One sentence that says whether to use neighbours, and why."""
        row = self.best
        if self.helps:
            return (
                f"neighbours help: at {self.angles_deg[row]:+.1f} degrees the mean score is "
                f"{self.gains[row]:+.4g} (standard error {self.gain_errors[row]:.2g}) against the "
                f"target direction, {int(self.n[row])} prompts."
            )
        return (
            f"no gain: no neighbour's mean score exceeds the target direction's by more than "
            f"{self.threshold:g} standard errors on {int(self.n[0])} prompts; sample at the "
            "target itself (spread=0)."
        )

    def is_for(self, target: Floats) -> bool:
        """Whether it was made for this target."""
        return len(target) == len(self.target) and bool(
            np.abs(angle_between([target], self.target)[0]) < 1e-6
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` reads them back."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {
            **arrays,
            "threshold": self.threshold,
            "generations": self.generations,
            "best": self.best,
            "helps": self.helps,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Coverage:
        """The record of :meth:`to_json`."""
        arrays: dict[str, Any] = {name: np.array(values[name]) for name in _ARRAYS}
        return cls(
            **arrays, threshold=values["threshold"], generations=values.get("generations", 0)
        )

    def _surety(self) -> Floats:
        """Gains in standard errors; a certain gain is infinitely sure."""
        with np.errstate(divide="ignore", invalid="ignore"):
            sure = self.gains / self.gain_errors
        sure[(self.gain_errors == 0) & (self.gains <= 0)] = 0.0
        return np.maximum(sure, 0.0)


_ARRAYS = (
    "target",
    "directions",
    "angles_deg",
    "n",
    "means",
    "standard_errors",
    "gains",
    "gain_errors",
)


def coverage_of(
    scores: ArrayLike, directions: ArrayLike, target: ArrayLike, *, threshold: float = 2.0
) -> Coverage:
    """The diagnosis from scores (P, m) of P prompts under m directions, the target first.

    Prompts are paired: the error of a gain is that of the mean difference over prompts, so
    that hard and easy prompts do not hide it. NaN leaves a prompt out of that neighbour.

    Raises:
        DataError: if the target or a neighbour has fewer than two prompts with scores.

    Example:
        >>> found = coverage_of([[1.0, 1.2], [3.0, 3.4], [2.0, 2.3]], [(1, 0), (0, 1)], (1, 0))
        >>> found.gains.round(6).tolist(), found.gain_errors.round(6).tolist(), found.helps
        ([0.0, 0.3], [0.0, 0.057735], True)
    """
    values = np.asarray(scores, dtype=np.float64)
    rows = np.asarray(directions, dtype=np.float64)
    gains = values - values[:, :1]
    n = np.isfinite(gains).sum(axis=0)
    if (n < _ENOUGH).any():
        column = int(n.argmin())
        raise DataError(
            f"direction {rows[column].tolist()} has {n[column]} prompts that were scored both "
            "there and at the target; a standard error needs two, a decision fifty or more."
        )
    return Coverage(
        target=unit(target),
        directions=rows,
        angles_deg=angle_between(rows, unit(target)),
        n=n,
        means=np.nanmean(values, axis=0),
        standard_errors=_standard_error(values),
        gains=np.nanmean(gains, axis=0),
        gain_errors=_standard_error(gains),
        threshold=threshold,
    )


def _standard_error(values: Floats) -> Floats:
    return np.nanstd(values, axis=0, ddof=1) / np.sqrt(np.isfinite(values).sum(axis=0))
