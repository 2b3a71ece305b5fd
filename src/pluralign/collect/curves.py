"""Learning curves: what a group's loss becomes with more of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from ..rules import shown

Floats = NDArray[np.float64]
Groups = slice | Sequence[int]
EVERY = slice(None)


@final
@dataclass(frozen=True, eq=False)
class PowerCurves:
    r"""One falling curve for each of G groups.

    Use it where quality in a group is limited by data. Where it is limited by label noise or
    by the model, a fit says so: b is 0 or a is all of the loss.

    :math:`\mathrm{loss}_g(n) = a_g + b_g n^{-\gamma_g}`, convex and decreasing in n.

    Args:
        a: loss that no amount of data removes, >= 0, in the metric's unit; ``(G,)`` or one number.
        b: what data can remove, >= 0.
        gamma: how fast it does, > 0; rarely above 2.
        names: G names for messages; row numbers if not given.

    Raises:
        ParameterError: naming the groups whose values are out of range.

    Example:
        >>> curves = PowerCurves(a=0.1, b=[1.0, 2.0], gamma=0.5)
        >>> curves.loss(100).round(3).tolist(), curves.gain(100).round(6).tolist()
        ([0.2, 0.3], [0.0005, 0.001])

    Differs from the paper: ours; its form of the curve was not to be had.

    References:
        Cai et al., 2022, arXiv 2202.01327.
    """

    a: ArrayLike
    b: ArrayLike
    gamma: ArrayLike
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        given = [as_floats(getattr(self, name), f"PowerCurves.{name}") for name in "ab"]
        given.append(as_floats(self.gamma, "PowerCurves.gamma"))
        try:
            arrays = [np.array(array) for array in np.broadcast_arrays(*map(np.atleast_1d, given))]
        except ValueError:
            shapes = [array.shape for array in given]
            raise ParameterError(
                f"PowerCurves.a, b and gamma must have one length; got {shapes}."
            ) from None
        if not arrays[0].size:
            raise ParameterError("PowerCurves needs at least one group; got none.")
        names = tuple(self.names) or tuple(map(str, range(len(arrays[0]))))
        for field, array in zip(("a", "b", "gamma"), arrays, strict=True):
            object.__setattr__(self, field, array)
            good = np.isfinite(array) & ((array > 0) if field == "gamma" else (array >= 0))
            wanted = "> 0" if field == "gamma" else ">= 0"
            refuse(f"PowerCurves.{field}", array, good, f"finite and {wanted}", names)
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(np.asarray(self.a))

    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """``a``, ``b`` and ``gamma``, each ``(G,)``."""
        return np.asarray(self.a), np.asarray(self.b), np.asarray(self.gamma)

    def loss(self, n: ArrayLike, at: Groups = EVERY) -> Floats:
        """Loss of each group (of those ``at``) at n samples; infinite at 0 where b > 0."""
        a, b, gamma = (values[at] for values in self.arrays())
        return a + _power(b, gamma, np.asarray(n, dtype=np.float64))

    def gain(self, n: ArrayLike) -> Floats:
        """Loss that the next sample removes, ``-d loss / d n``, ``(..., G)``."""
        _, b, gamma = self.arrays()
        return _power(b * gamma, gamma + 1, np.asarray(n, dtype=np.float64))

    def needed(self, loss: ArrayLike) -> Floats:
        """Samples that bring each group to ``loss``; infinite where it cannot get there."""
        a, b, gamma = self.arrays()
        above = np.asarray(loss, dtype=np.float64) - a
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            found = np.exp((np.log(b) - np.log(above)) / gamma)
        return np.where(
            b == 0, np.where(above >= 0, 0.0, np.inf), np.where(above > 0, found, np.inf)
        )


def _power(scale: Floats, exponent: Floats, n: Floats) -> Floats:
    """``scale n^-exponent``, 0 where the scale is, infinite at n = 0 elsewhere."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        found = scale * np.exp(-exponent * np.log(n))
    return np.where(scale == 0, 0.0, found)


def as_floats(value: ArrayLike, name: str) -> Floats:
    """Numbers as float64; ParameterError that names the parameter otherwise."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"{name} must hold numbers; got {shown(value)}.") from None


def refuse(
    name: str, values: Floats, good: NDArray[np.bool_], wanted: str, groups: Sequence[str]
) -> None:
    """Raise for the groups where ``good`` is false, with the first of them and its value."""
    bad = np.flatnonzero(~good)
    if len(bad):
        first = int(bad[0])
        more = f", and {len(bad) - 1} more groups" if len(bad) > 1 else ""
        raise ParameterError(
            f"{name} must be {wanted}; got {values[first]} for group {groups[first]!r}{more}."
        )
