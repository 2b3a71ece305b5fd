"""What a planner wants of all groups' performance together: from the mean to the worst-off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from ..rules import Kind, Within, check, nearest, shown

Floats = NDArray[np.float64]


class Welfare(Protocol):
    """A sum of concave utilities of the groups' performance."""

    @property
    def lowest(self) -> float:
        """Performance must stay above this; minus infinity if any will do."""
        ...

    def utility(self, performance: Floats) -> Floats:
        """What a performance is worth, elementwise."""
        ...

    def log_slope(self, performance: Floats) -> Floats:
        """Logarithm of the derivative of :meth:`utility`."""
        ...

    def aversion(self, performance: Floats) -> Floats:
        """``-u'' / u'``; only speeds the search up, so it may be rough."""
        ...

    def value(self, performance: Floats, weights: Floats) -> float:
        """Welfare of all groups."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Name and parameters."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Isoelastic:
    r"""Atkinson's welfare: the more averse to inequality, the more a gain of the poor counts.

    Use ``eps=0`` (utilitarian) where only the weighted mean matters, ``eps=1`` to protect small
    groups without letting a hopeless one swallow the budget, and :class:`Maximin` where the
    worst-off group is all that counts. Do not use ``eps > 0`` on a metric that can be negative:
    shift it first (``best``).

    :math:`\sum_g w_g u(x_g),\ u(x) = x^{1-\epsilon} / (1-\epsilon)`, :math:`\log x` at 1.

    Args:
        eps: aversion to inequality, [0, 50].

    Raises:
        ParameterError: for a value out of range.

    Example:
        >>> Isoelastic(eps=1.0).value(np.array([0.5, 1.0]), np.array([0.5, 0.5])).__round__(4)
        -0.3466

    Differs from the paper: ours; its own function was not to be had.

    References:
        Cai et al., 2022, arXiv 2202.01327. Atkinson, 1970, Journal of Economic Theory 2(3).
    """

    eps: Annotated[float, Within(0.0, 50.0)] = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.eps, (int, float)) and self.eps > 50:
            raise ParameterError(
                f"Isoelastic.eps must be in [0, 50]; got {self.eps}: use Maximin, its limit."
            )
        check(self)

    @property
    def lowest(self) -> float:
        """0, but for the utilitarian."""
        return 0.0 if self.eps > 0 else -np.inf

    def utility(self, performance: Floats) -> Floats:
        """``x^(1 - eps) / (1 - eps)``, or the logarithm."""
        if self.eps == 0:
            return performance
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.eps == 1:
                return np.log(performance)
            return np.exp((1 - self.eps) * np.log(performance)) / (1 - self.eps)

    def log_slope(self, performance: Floats) -> Floats:
        """``-eps log x``."""
        if self.eps == 0:
            return np.zeros_like(performance)
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self.eps * np.log(performance)

    def aversion(self, performance: Floats) -> Floats:
        """``eps / x``."""
        if self.eps == 0:
            return np.zeros_like(performance)
        with np.errstate(divide="ignore", over="ignore"):
            return self.eps / performance

    def value(self, performance: Floats, weights: Floats) -> float:
        """Weighted sum of utilities."""
        return _weighted(self.utility(performance), weights)

    def to_json(self) -> dict[str, Any]:
        """``{"name": "isoelastic", "eps": ...}``, or ``{"name": "utilitarian"}``."""
        return {"name": "isoelastic", "eps": self.eps} if self.eps else {"name": "utilitarian"}


@final
@dataclass(frozen=True, kw_only=True)
class Concave:
    """A welfare of one's own: any increasing concave utility.

    Use it where a known utility is at stake. Its concavity is not checked: a convex one gives
    some stationary point instead of the best allocation.

    Args:
        name: stands in records and in the state; two utilities need two names.
        u: utility of performance, elementwise on arrays.
        slope: its derivative, > 0 and decreasing.
        lowest: performance must stay above this.

    Example:
        >>> risk_averse = Concave(name="exponential", u=lambda x: -np.exp(-3 * x),
        ...                       slope=lambda x: 3 * np.exp(-3 * x))
        >>> risk_averse.log_slope(np.array([0.0])).round(4).tolist()
        [1.0986]
    """

    name: Annotated[str, Kind(str)]
    u: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    lowest: float = -np.inf

    def __post_init__(self) -> None:
        check(self)

    def utility(self, performance: Floats) -> Floats:
        """As given."""
        return self.u(performance)

    def log_slope(self, performance: Floats) -> Floats:
        """Logarithm of the given slope."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.slope(performance))

    def aversion(self, performance: Floats) -> Floats:
        """A difference quotient of the slope's logarithm."""
        step = 1e-6 * np.maximum(1e-3, np.abs(performance))
        drop = self.log_slope(performance) - self.log_slope(performance + step)
        return np.maximum(np.nan_to_num(drop / step, posinf=0.0), 0.0)

    def value(self, performance: Floats, weights: Floats) -> float:
        """Weighted sum of utilities."""
        return _weighted(self.utility(performance), weights)

    def to_json(self) -> dict[str, Any]:
        """``{"name": "concave", "utility": ...}``."""
        return {"name": "concave", "utility": self.name}


@final
@dataclass(frozen=True)
class Maximin:
    """The worst-off group is all that counts.

    Use it where no group may fall behind. It pours money into the group with the largest loss
    that data cannot remove: print every group's predicted loss before anything is bought.

    Example:
        >>> Maximin().value(np.array([0.5, 0.8]), np.array([0.1, 0.9]))
        0.5
    """

    def value(self, performance: Floats, weights: Floats) -> float:
        """Least performance of the groups whose weight is not 0."""
        return float(performance[weights > 0].min())

    def to_json(self) -> dict[str, Any]:
        """``{"name": "maximin"}``."""
        return {"name": "maximin"}


@final
@dataclass(frozen=True, kw_only=True)
class ParityPenalised:
    """Mean performance minus a multiple of its range over groups.

    Use it where a difference between groups is itself an evil. It is not concave: a group
    may be kept poor to keep it near the others, and only a local optimum is found.

    Args:
        kappa: price of a unit of range, >= 0.

    Example:
        >>> ParityPenalised(kappa=1.0).value(np.array([0.5, 1.0]), np.array([0.5, 0.5]))
        0.25
    """

    kappa: Annotated[float, Within(0.0)] = 1.0

    def __post_init__(self) -> None:
        check(self)

    def value(self, performance: Floats, weights: Floats) -> float:
        """``sum w x - kappa (max x - min x)``."""
        counted = performance[weights > 0]
        return _weighted(performance, weights) - self.kappa * float(np.ptp(counted))

    def to_json(self) -> dict[str, Any]:
        """``{"name": "parity", "kappa": ...}``."""
        return {"name": "parity", "kappa": self.kappa}


Objective: TypeAlias = Isoelastic | Concave | Maximin | ParityPenalised


def objective_named(
    name: str, *, eps: float | None = None, kappa: float | None = None
) -> Objective:
    """The objective that a plan file names.

    Args:
        name: ``"utilitarian"``, ``"isoelastic"``, ``"maximin"`` or ``"parity"``.
        eps: of ``"isoelastic"``, 1 if not given.
        kappa: of ``"parity"``, 1 if not given.

    Raises:
        ParameterError: for an unknown name, or a parameter that the objective does not have.

    Example:
        >>> objective_named("isoelastic", eps=2.0)
        Isoelastic(eps=2.0)
    """
    takes = {"utilitarian": None, "isoelastic": "eps", "maximin": None, "parity": "kappa"}
    if name not in takes:
        raise ParameterError(f"objective is unknown: {shown(name)}; {nearest(str(name), takes)}")
    for parameter, value in (("eps", eps), ("kappa", kappa)):
        if value is not None and takes[name] != parameter:
            raise ParameterError(f"{parameter} means nothing to objective {name!r}; leave it out.")
    if name == "maximin":
        return Maximin()
    if name == "parity":
        return ParityPenalised(kappa=1.0 if kappa is None else kappa)
    return Isoelastic(eps=0.0 if name == "utilitarian" else 1.0 if eps is None else eps)


def check_objective(given: object) -> None:
    """Refuse what is no objective.

    Raises:
        ParameterError: naming the value.
    """
    if not isinstance(given, (Isoelastic, Concave, Maximin, ParityPenalised)):
        raise ParameterError(
            f"objective must be an objective, such as Isoelastic(eps=1); got {shown(given)}."
        )


def _weighted(values: Floats, weights: Floats) -> float:
    counted = weights > 0
    return float(values[counted] @ weights[counted])
