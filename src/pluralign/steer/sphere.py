"""Directions as points on a sphere: angles, turns and draws from a cap."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from ..rules import Within, shown

Floats = NDArray[np.float64]
AngleLaw = Literal["cap", "angle"]

_TANGENT_TOO_SHORT = 1e-12
_UNIT_WITHIN = 1e-15


def unit(direction: ArrayLike, name: str = "direction") -> Floats:
    """A direction of length one, shape (d,), d >= 2.

    Raises:
        ParameterError: for another shape, a value that is not finite, or length zero.

    Example:
        >>> unit((3.0, 4.0)).tolist()
        [0.6, 0.8]
    """
    try:
        values = as_numbers(direction, name)
    except ParameterError:
        values = np.array(np.nan)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all() or not values.any():
        raise ParameterError(
            f"{name} must be at least two finite numbers, not all zero, one for each attribute; "
            f"got {shown(direction)}."
        )
    largest = float(np.abs(values).max())
    if largest <= 1.0 and abs(float(np.linalg.norm(values)) - 1.0) < _UNIT_WITHIN:
        return values  # to the last bit, because candidates are seeded by their direction
    values = values / largest  # so that squares neither overflow nor vanish
    return values / np.linalg.norm(values)


def as_numbers(values: ArrayLike, name: str) -> Floats:
    """The values as an array of numbers.

    Raises:
        ParameterError: for texts, rows of different lengths or what else is no such array.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"{name} must be numbers, in rows of one length; got {shown(values)}."
        ) from error


def at_angle(degrees: float) -> Floats:
    """The direction (cos, sin) in two dimensions.

    Example:
        >>> at_angle(45.0).round(4).tolist()
        [0.7071, 0.7071]
    """
    radians = np.deg2rad(degrees)
    return np.array([np.cos(radians), np.sin(radians)])


def angle_of(direction: ArrayLike) -> float:
    """The angle of a direction in two dimensions, degrees in (-180, 180].

    Example:
        >>> angle_of((1.0, 1.0))
        45.0
    """
    x, y = unit(direction)
    return float(np.rad2deg(np.arctan2(y, x)))


def angle_between(directions: ArrayLike, target: ArrayLike) -> Floats:
    """Angles from a unit target in degrees, shape (m,); exact for small angles too.

    In two dimensions the sign says which way: counter-clockwise is positive.

    Args:
        directions: unit vectors, shape (m, d).
        target: unit vector, shape (d,).

    Example:
        >>> angle_between([at_angle(50), at_angle(30)], at_angle(45)).round(9).tolist()
        [5.0, -15.0]
    """
    u, v = np.asarray(directions, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if v.shape[-1] == 2:
        across = v[0] * u[:, 1] - v[1] * u[:, 0]
        return np.rad2deg(np.arctan2(across, u @ v))
    # arccos of a dot product loses half of the digits near 0; the chord does not.
    return np.rad2deg(2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1)))


def turn(target: ArrayLike, towards: ArrayLike, degrees: float) -> Floats:
    """The target turned by an angle in the plane that it spans with another vector.

    ``cos(phi) v + sin(phi) t`` with ``t`` the normalised part of ``towards`` across ``v``.

    Args:
        target: unit vector, shape (d,).
        towards: any vector that is not parallel to the target, shape (d,).
        degrees: the angle.

    Raises:
        ParameterError: if ``towards`` is parallel to the target.

    Example:
        >>> turn((1.0, 0.0, 0.0), (5.0, 2.0, 0.0), 90.0).round(12).tolist()
        [0.0, 1.0, 0.0]
    """
    v = np.asarray(target, dtype=np.float64)
    t = _across(np.asarray(towards, dtype=np.float64), v)
    if t is None:
        raise ParameterError(
            f"towards must not be parallel to the target {shown(v.tolist())}; "
            f"got {shown(np.asarray(towards).tolist())}."
        )
    phi = np.deg2rad(degrees)
    return np.cos(phi) * v + np.sin(phi) * t


def cap_draw(
    target: ArrayLike, spread: float, rng: np.random.Generator, law: AngleLaw = "cap"
) -> Floats:
    """One direction within ``spread`` degrees of a unit target, shape (d,).

    Use ``law="cap"`` for a uniform draw from the spherical cap. In many dimensions nearly all
    of a cap lies at its rim (d = 8, spread 30: 93 % beyond 20 degrees); ``law="angle"``
    draws the angle itself uniformly.

    Args:
        target: unit vector, shape (d,).
        spread: degrees, (0, 180].
        rng: decides the draw.
        law: ``"cap"`` or ``"angle"``.

    Example:
        >>> u = cap_draw((1.0, 0.0, 0.0), 30.0, np.random.default_rng(0))
        >>> bool(angle_between([u], (1.0, 0.0, 0.0))[0] <= 30)
        True

    Differs from the paper: it names no law; ours is invariant under rotation.
    """
    v = np.asarray(target, dtype=np.float64)
    t = None
    while t is None:
        t = _across(rng.normal(size=len(v)), v)
    share = rng.random()
    phi = spread * share if law == "angle" else float(cap_angle(share, len(v), spread))
    return turn(v, t, phi)


def cap_angle_cdf(degrees: ArrayLike, d: int, spread: float) -> Floats:
    r"""Share of a spherical cap within an angle of its centre, shape of ``degrees``.

    :math:`F(\phi) = \int_0^\phi \sin^{d-2} / \int_0^{\theta} \sin^{d-2}`.

    Args:
        degrees: angles; below 0 gives 0, beyond the spread gives 1.
        d: dimension, >= 2.
        spread: half-angle of the cap in degrees, (0, 180].

    Raises:
        ParameterError: for a dimension or spread out of range.

    Example:
        >>> cap_angle_cdf([10.0, 20.0], d=2, spread=30.0).round(6).tolist()
        [0.333333, 0.666667]
    """
    _check_cap(d, spread)
    phi = np.clip(np.asarray(degrees, dtype=np.float64), 0.0, spread)
    return _sine_mass(phi, d) / _sine_mass(np.asarray(spread), d)


def cap_angle(share: ArrayLike, d: int, spread: float) -> Floats:
    """The angle in degrees that holds a share of the cap: the inverse of ``cap_angle_cdf``.

    Example:
        >>> float(cap_angle(0.5, d=2, spread=30.0))
        15.0
    """
    from scipy.special import betaincinv

    _check_cap(d, spread)
    shares = np.asarray(share, dtype=np.float64)
    if d == 2:
        return spread * shares
    if d == 3:
        # 1 - cos = 2 sin^2(half), which keeps its digits for small caps.
        half = np.sqrt(shares) * np.sin(np.deg2rad(spread) / 2)
        return np.rad2deg(2 * np.arcsin(half))
    mass = shares * _sine_mass(np.asarray(spread), d)
    near = np.minimum(mass, 2.0 - mass)
    sine = np.sqrt(betaincinv((d - 1) / 2, 0.5, near))
    phi = np.rad2deg(np.arcsin(sine))
    return np.minimum(np.where(mass <= 1.0, phi, 180.0 - phi), spread)


def cap_mean_cosine(d: int, spread: float) -> float:
    """Mean cosine between the centre and a uniform draw from its cap.

    Example:
        >>> round(cap_mean_cosine(3, 30.0), 6)
        0.933013
    """
    from scipy.special import beta

    _check_cap(d, spread)
    mass = float(_sine_mass(np.asarray(spread), d)) * beta((d - 1) / 2, 0.5) / 2
    return float(np.sin(np.deg2rad(spread)) ** (d - 1) / (d - 1) / mass)


def _sine_mass(degrees: Floats, d: int) -> Floats:
    """Integral of sin^(d-2) from 0, as a share of that up to 90 degrees: in [0, 2]."""
    from scipy.special import betainc

    phi = np.deg2rad(degrees)
    if d == 2:
        return 2 * phi / np.pi
    if d == 3:
        return 2 * np.sin(phi / 2) ** 2
    # The incomplete beta function measures from the pole to the equator and back.
    half = betainc((d - 1) / 2, 0.5, np.sin(phi) ** 2)
    return np.where(phi <= np.pi / 2, half, 2.0 - half)


def _across(w: Floats, v: Floats) -> Floats | None:
    """The unit part of ``w`` across a unit ``v``; ``None`` if there is hardly any."""
    length = float(np.linalg.norm(w))
    t = w - (w @ v) * v
    size = float(np.linalg.norm(t))
    if not np.isfinite(length) or size < _TANGENT_TOO_SHORT * max(length, 1.0):
        return None
    t = t / size
    t = t - (t @ v) * v  # once more: the first pass cancels digits where w is nearly v
    return t / np.linalg.norm(t)


def _check_cap(d: int, spread: float) -> None:
    if not Within(2, None, integer=True).admits(d):
        raise ParameterError(f"d must be an integer >= 2; got {shown(d)}.")
    if not Within(0.0, 180.0, closed="right").admits(spread):
        raise ParameterError(
            f"spread must be a finite number in (0.0, 180.0]; got {shown(spread)}."
        )
