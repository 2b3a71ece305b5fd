"""A sampling plan as plain values, such as a YAML file holds: every problem shown at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np

from ..errors import DataError, ParameterError
from ..rules import Within, nearest, shown
from .curves import PowerCurves
from .fitting import CurveFit, fit_curve
from .plan import SamplingPlan
from .welfare import objective_named

_PLAN_KEYS = (
    "budget",
    "objective",
    "eps",
    "kappa",
    "groups",
    "best",
    "pilot",
    "rounds",
    "explore_floor",
    "gamma_bounds",
    "transfer",
    "rule",
    "seed",
)
_GROUP_KEYS = ("cost", "population", "weight", "held", "available", "curve", "points")
_COLUMNS = {"weight": "weights"}


@final
@dataclass(frozen=True)
class PlannedGroups:
    """A plan, with what is known of its curves.

    Attributes:
        plan: groups, prices, budget, objective.
        curves: of all groups, where each has a ``curve`` or ``points``; else ``None``.
        fits: those that were fitted to points.
        unknown: groups of which nothing is known.
    """

    plan: SamplingPlan
    curves: PowerCurves | None
    fits: Mapping[str, CurveFit]
    unknown: tuple[str, ...]


def planned(values: Mapping[str, Any], source: str = "plan") -> PlannedGroups:
    """The plan that plain values describe.

    ``groups`` maps each name to ``cost`` and, where known, ``population``, ``weight``, ``held``,
    ``available`` and either ``curve`` (``a``, ``b``, ``gamma``: a guess) or ``points``
    (``[n, loss]`` or ``[n, loss, se]``: measurements). The other keys are those of
    :class:`SamplingPlan`, ``objective`` by name with its ``eps`` or ``kappa``.

    Raises:
        ParameterError: listing every key that is unknown, missing or of the wrong kind.

    Example:
        >>> found = planned({"budget": 500, "objective": "maximin", "groups": {
        ...     "north": {"cost": 1, "curve": {"a": 0.1, "b": 1.0, "gamma": 0.5}},
        ...     "south": {"cost": 2}}})
        >>> found.plan.objective, found.unknown
        (Maximin(), ('south',))
    """
    problems = _unknown(values, _PLAN_KEYS, "") + _missing(values, ("budget", "groups"), "")
    groups: Any = values.get("groups")
    if "groups" in values and not (isinstance(groups, Mapping) and groups):
        problems.append(f"groups must map names to their settings; got {shown(groups)}.")
        groups = {}
    rows = {str(name): row for name, row in cast("Mapping[Any, Any]", groups or {}).items()}
    for name, row in rows.items():
        problems += _group_problems(name, row)
    if problems:
        raise ParameterError("\n".join(f"{source}: {line}" for line in problems))
    try:
        return _built(values, rows)
    except (ParameterError, DataError) as error:
        raise ParameterError(f"{source}: {error}") from error


def _built(values: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> PlannedGroups:
    plain = {k: v for k, v in values.items() if k not in ("groups", "objective", "eps", "kappa")}
    if "gamma_bounds" in plain:
        plain["gamma_bounds"] = _pair(plain["gamma_bounds"])
    objective = values.get("objective", "isoelastic")
    settings: dict[str, Any] = {
        "groups": tuple(rows),
        "objective": objective_named(objective, eps=values.get("eps"), kappa=values.get("kappa")),
        **_columns(rows),
        **plain,
    }
    plan = SamplingPlan(**settings)
    fits = {
        name: fit_curve(*_columns_of(row["points"]), gamma_bounds=plan.gamma_bounds, name=name)
        for name, row in rows.items()
        if "points" in row
    }
    known = {name: row["curve"] for name, row in rows.items() if "curve" in row}
    known |= {name: {"a": f.a, "b": f.b, "gamma": f.gamma} for name, f in fits.items()}
    unknown = tuple(name for name in rows if name not in known)
    curves = None
    if not unknown:
        parameters = [[known[name][key] for name in rows] for key in ("a", "b", "gamma")]
        curves = PowerCurves(*parameters, names=tuple(rows))
    return PlannedGroups(plan, curves, fits, unknown)


def _pair(value: Any) -> tuple[float, float]:
    bounds = cast("list[Any]", value) if isinstance(value, list) else []
    if len(bounds) != 2 or not all(Within().admits(bound) for bound in bounds):
        raise ParameterError(f"gamma_bounds must be [low, high]; got {shown(value)}.")
    return float(bounds[0]), float(bounds[1])


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One column for each setting that any group has."""
    usual = {"held": 0.0, "available": np.inf}
    found: dict[str, Any] = {}
    for key in ("cost", "population", "weight", "held", "available"):
        if any(key in row for row in rows.values()):
            values = {name: row.get(key, usual.get(key)) for name, row in rows.items()}
            missing = [name for name, value in values.items() if value is None]
            if missing:
                raise ParameterError(
                    f"groups.{missing[0]} has no {key}, other groups have; give it to all."
                )
            found[_COLUMNS.get(key, key)] = values
    return found


def _columns_of(points: Sequence[Sequence[float]]) -> list[Any]:
    columns = np.array([[float(value) for value in row] for row in points]).T
    return list(columns)


def _group_problems(name: str, row: Any) -> list[str]:
    where = f"groups.{name}"
    if not isinstance(row, Mapping):
        return [f"{where} must map settings to values; got {shown(row)}."]
    settings = cast("Mapping[str, Any]", row)
    found = _unknown(settings, _GROUP_KEYS, f"{where}.") + _missing(
        settings, ("cost",), f"{where}."
    )
    numbers = [k for k in ("cost", "population", "weight", "held", "available") if k in settings]
    found += [
        f"{where}.{key} must be a finite number; got {shown(settings[key])}."
        for key in numbers
        if not Within().admits(settings[key])
    ]
    if "curve" in settings and "points" in settings:
        found.append(f"{where} has both a curve and points; keep the points, they are measured.")
    if "curve" in settings:
        found += _curve_problems(settings["curve"], f"{where}.curve")
    if "points" in settings:
        found += _point_problems(settings["points"], f"{where}.points")
    return found


def _curve_problems(curve: Any, where: str) -> list[str]:
    if not isinstance(curve, Mapping):
        return [f"{where} must map a, b and gamma to numbers; got {shown(curve)}."]
    keys = ("a", "b", "gamma")
    values = cast("Mapping[str, Any]", curve)
    wrong = [k for k in keys if k in values and not Within().admits(values[k])]
    return (
        _unknown(values, keys, f"{where}.")
        + _missing(values, keys, f"{where}.")
        + [f"{where}.{key} must be a finite number; got {shown(values[key])}." for key in wrong]
    )


def _point_problems(points: Any, where: str) -> list[str]:
    rows = cast("list[Any]", points) if isinstance(points, list) else []
    lengths = {len(cast("list[Any]", row)) if isinstance(row, list) else 0 for row in rows}
    if lengths not in ({2}, {3}):
        return [f"{where} must be a list of [n, loss], or of [n, loss, se]; got {shown(points)}."]
    wrong = [value for row in rows for value in row if not Within().admits(value)]
    return [f"{where} must hold finite numbers; got {shown(wrong[0])}."] if wrong else []


def _unknown(values: Mapping[str, Any], known: Sequence[str], prefix: str) -> list[str]:
    return [
        f"{prefix}{key} is unknown; {nearest(str(key), known)}"
        for key in values
        if key not in known
    ]


def _missing(values: Mapping[str, Any], needed: Sequence[str], prefix: str) -> list[str]:
    return [f"{prefix}{key} is missing." for key in needed if key not in values]
