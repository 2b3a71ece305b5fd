"""Neighbours of a direction: which directions are tried for one that a user wants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import numpy as np

from ..errors import ParameterError
from ..rules import AnyOf, Kind, OneOf, Within, check, shown
from .sphere import AngleLaw, Floats, angle_between, angle_of, at_angle, cap_draw, unit

Scheme = Literal["grid", "offset", "uniform", "toward"]
Used = Literal["grid", "offset", "uniform", "toward", "target"]

Count = Annotated[int, Within(1, None, integer=True)]
Spread = Annotated[float, Within(0.0, 180.0)]
SchemeName = Annotated[Scheme | None, AnyOf(None, OneOf("grid", "offset", "uniform", "toward"))]
IncludeTarget = Annotated[bool | None, AnyOf(None, Kind(bool))]
Step = Annotated[float, Within(0.0, 360.0, closed="right")]
Law = Annotated[AngleLaw, OneOf("cap", "angle")]

_SAME_DIRECTION_DEG = 1e-7
_REDRAWS = 100


@final
@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The directions to try for one target.

    Args:
        directions: unit vectors (m, d); one row if the spread is 0.
        repeats: how often each row is to be sampled: k if the spread is 0, else 1.
        scheme: the scheme that was used; ``"target"`` where all are the target itself.
        clipped: how many rows had a negative part set to zero.
    """

    directions: Floats
    repeats: int
    scheme: Used
    clipped: int = 0

    @property
    def count(self) -> int:
        """How many candidates they make, before several for each direction."""
        return len(self.directions) * self.repeats


@final
@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    r"""Draws k directions within an angle of a target.

    ======= ================================================================================
    scheme  directions
    ======= ================================================================================
    grid    multiples of ``step`` from ``grid[0]`` to ``grid[1]`` (absolute angles), the k
            nearest within ``spread``; two dimensions; what the authors' code does
    offset  target + 0, -step, +step, -2 step, ...: the k nearest within ``spread``; two
            dimensions
    uniform the target and k - 1 independent draws from the cap of half-angle ``spread``
    toward  k evenly spaced from the target toward the nearest trained direction, as far as
            ``spread`` reaches
    ======= ================================================================================

    Use ``toward`` where the trained directions are known: a turn by :math:`\Delta` toward
    them costs :math:`1 - \cos\Delta` and gains what their better training is worth. Use
    ``offset`` or ``uniform`` where they are not. ``grid`` is one-sided near its ends, which
    alone produces gains there.

    Args:
        k: number of directions, >= 1.
        spread: largest angle from the target, degrees in [0, 180]; 0 means the target k times.
        scheme: as above; ``None`` takes ``toward`` if there are trained directions, else
            ``offset`` in two dimensions and ``uniform`` in more.
        train_directions: directions that the model was tuned on, (n, d).
        include_target: whether the target itself is the first; ``None`` means yes, except
            for ``grid``, which holds it only if it lies on the grid.
        step: degrees between neighbours of ``grid`` and ``offset``.
        grid: lowest and highest angle of ``grid``.
        law: ``"cap"`` uniform on the cap, ``"angle"`` uniform in the angle (``uniform`` only).
        nonnegative: redraw directions with a negative part, at most 100 times, then clip.

    Raises:
        ParameterError: for values or combinations out of range.

    Example:
        >>> draw = Neighbourhood(scheme="grid", k=3)
        >>> [round(angle_of(u), 6) for u in draw.around((1.0, 1.0)).directions]
        [40.0, 35.0, 30.0]
        >>> draw = Neighbourhood(k=3, spread=30, train_directions=[(1.0, 0.0)])
        >>> [round(angle_of(u), 6) for u in draw.around((1.0, 1.0)).directions]
        [45.0, 30.0, 15.0]

    Differs from the paper: its text samples within 30 degrees, its released code is ``grid``
    with k = 5 and hence stays within 10 degrees of most targets. ``toward``, more than two
    dimensions and the law on the cap are ours.
    """

    k: Count = 5
    spread: Spread = 30.0
    scheme: SchemeName = None
    train_directions: Sequence[Sequence[float]] | Floats | None = None
    include_target: IncludeTarget = None
    step: Step = 5.0
    grid: tuple[float, float] = (-40.0, 40.0)
    law: Law = "cap"
    nonnegative: Annotated[bool, Kind(bool)] = False

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """Combinations that make no neighbourhood."""
        found = [*_grid_problems(self.grid), *_row_problems(self.train_directions)]
        if self.spread and self.step > self.spread and self.scheme in ("grid", "offset"):
            found.append(f"step must be at most the spread {self.spread}; got {self.step}.")
        if not self.spread and not self.includes_target():
            found.append(
                f"spread must be above 0 without the target itself; got {self.spread} with "
                f"scheme {self.scheme!r} and include_target={self.include_target}."
            )
        if self.scheme == "toward" and not _given(self.train_directions):
            found.append("scheme 'toward' needs train_directions, the trained region to go to.")
        return found

    def includes_target(self) -> bool:
        """Whether the target is always among its neighbours."""
        return self.scheme != "grid" if self.include_target is None else self.include_target

    def around(self, target: Sequence[float] | Floats, seed: int = 0) -> Neighbours:
        """The neighbours of a target; may be fewer than k, or none, on a grid.

        Args:
            target: shape (d,), any length but zero.
            seed: decides the draws of ``uniform``.

        Raises:
            ParameterError: for a target that is no direction, or that the scheme cannot serve.
        """
        v = unit(target, "target")
        trained = self._trained(len(v))
        scheme = self._scheme_for(v, trained)
        if not self.spread or (self.k == 1 and self.includes_target()):
            return Neighbours(directions=v[None], repeats=self.k, scheme="target")
        if scheme == "uniform":
            return self._uniform(v, np.random.default_rng(seed))
        if scheme == "toward":
            directions = self._toward(v, trained)
        else:
            centre = angle_of(v)
            angles = self._grid(centre) if scheme == "grid" else self._offset(centre)
            directions = np.array([at_angle(a) for a in angles]).reshape(-1, 2)
        return self._nonnegative(directions, scheme)

    def _trained(self, d: int) -> Floats:
        if not _given(self.train_directions):
            return np.empty((0, d))
        rows = [unit(row) for row in _rows(self.train_directions)]
        if len(rows[0]) != d:
            raise ParameterError(
                f"train_directions must have {d} values each, as the target has; "
                f"got {len(rows[0])}."
            )
        return np.array(rows)

    def _scheme_for(self, v: Floats, trained: Floats) -> Scheme:
        scheme = self.scheme or ("toward" if len(trained) else _undirected(len(v)))
        if scheme in ("grid", "offset") and len(v) != 2:
            raise ParameterError(
                f"scheme {scheme!r} needs two attributes, the target has {len(v)}; "
                "use 'uniform' or 'toward'."
            )
        if scheme == "toward":
            gap = np.abs(angle_between(trained, v)).min()
            return _undirected(len(v)) if gap < _SAME_DIRECTION_DEG else "toward"
        return scheme

    def _grid(self, centre: float) -> list[float]:
        low, high = self.grid
        steps = math.floor((high - low) / self.step + 1e-9)
        angles = [low + j * self.step for j in range(steps + 1) if j * self.step < 360.0]
        near = sorted((round(_turn_to(a, centre), 9), a) for a in angles)
        kept = [a for distance, a in near if distance <= self.spread]
        if not self.include_target:
            return kept[: self.k]
        others = [a for a in kept if _turn_to(a, centre) > _SAME_DIRECTION_DEG]
        return [centre, *others][: self.k]

    def _offset(self, centre: float) -> list[float]:
        reach = math.floor(self.spread / self.step + 1e-9)
        steps = sorted(range(-reach, reach + 1), key=lambda j: (abs(j), j))
        # -180 and +180 degrees are one direction.
        steps = [j for j in steps if j * self.step > -180.0]
        kept = steps if self.includes_target() else steps[1:]
        return [centre + j * self.step for j in kept[: self.k]]

    def _toward(self, v: Floats, trained: Floats) -> Floats:
        gaps = np.abs(angle_between(trained, v))
        gap, c = float(gaps.min()), trained[gaps.argmin()]
        if gap > 180.0 - _SAME_DIRECTION_DEG:
            raise ParameterError(
                f"the nearest trained direction {shown(c.tolist())} is opposite to the target "
                f"{shown(v.tolist())}; no way to it is the shortest."
            )
        reach = min(self.spread, gap)
        first = 0 if self.includes_target() else 1
        turns = np.deg2rad(reach) * np.arange(first, self.k + first) / max(self.k - 1 + first, 1)
        g = math.radians(gap)
        rows = np.outer(np.sin(g - turns), v) + np.outer(np.sin(turns), c)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _uniform(self, v: Floats, rng: np.random.Generator) -> Neighbours:
        first = [v] if self.includes_target() else []
        rows, clipped = list(first), 0
        while len(rows) < self.k:
            u = cap_draw(v, self.spread, rng, self.law)
            for _ in range(_REDRAWS):
                if not self.nonnegative or (u >= 0).all():
                    break
                u = cap_draw(v, self.spread, rng, self.law)
            rows.append(u)
        if self.nonnegative:
            rows, clipped = _clip(rows, len(first))
        return Neighbours(directions=np.array(rows), repeats=1, scheme="uniform", clipped=clipped)

    def _nonnegative(self, directions: Floats, scheme: Scheme) -> Neighbours:
        """Fixed schemes have nothing to redraw: rows with a negative part are left out."""
        kept = directions
        if self.nonnegative and len(directions):
            wanted = (directions >= 0).all(axis=1)
            first = self.includes_target() & (np.arange(len(directions)) == 0)
            kept = directions[wanted | first]
        return Neighbours(directions=kept, repeats=1, scheme=scheme)


def _clip(rows: list[Floats], first: int) -> tuple[list[Floats], int]:
    """Negative parts to zero in all rows after ``first``, and how many rows had one."""
    clipped = [(u < 0).any() and i >= first for i, u in enumerate(rows)]
    kept = [
        unit(np.maximum(u, 0.0)) if cut and (u > 0).any() else u
        for u, cut in zip(rows, clipped, strict=True)
    ]
    return kept, sum(map(bool, clipped))


def _undirected(d: int) -> Scheme:
    return "offset" if d == 2 else "uniform"


def _turn_to(angle: float, centre: float) -> float:
    """Distance of two angles around the circle, in [0, 180]."""
    return abs((angle - centre + 180.0) % 360.0 - 180.0)


def _given(directions: Sequence[Sequence[float]] | Floats | None) -> bool:
    return directions is not None and len(directions) > 0


def _rows(directions: Sequence[Sequence[float]] | Floats | None) -> list[Floats]:
    return [np.asarray(row, dtype=np.float64) for row in (() if directions is None else directions)]


def _row_problems(directions: Sequence[Sequence[float]] | Floats | None) -> list[str]:
    try:
        lengths = {len(unit(row, "a row of train_directions")) for row in _rows(directions)}
    except (ParameterError, TypeError, ValueError) as error:
        return [str(error)]
    return ["rows of train_directions must be of one length."] if len(lengths) > 1 else []


def _grid_problems(grid: Any) -> list[str]:
    bound = Within(-180.0, 180.0)
    if (
        isinstance(grid, (tuple, list))
        and len(grid) == 2
        and all(map(bound.admits, grid))
        and grid[0] < grid[1]
    ):
        return []
    return [f"grid must be two angles in [-180, 180], the lower first; got {shown(grid)}."]
