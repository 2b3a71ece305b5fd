"""Densities of predictions in every intersection cell, as a record for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import AnyOf, OneOf, Within, shown
from .dependence import grouped_outputs, kernel_density

_BANDWIDTH = AnyOf(Within(0.0, closed="neither"), OneOf("scott"))
_POINTS = Within(20, 2000, integer=True)


def cell_densities(
    outputs: Mapping[str, ArrayLike],
    groups: Sequence[Any],
    *,
    bandwidth: float | Literal["scott"] = "scott",
    points: int = 120,
    unit: str = "",
) -> dict[str, Any]:
    """Densities of each model's predictions by cell, for ``write_groups_report``.

    Use it beside :func:`~pluralign.audit.dependence.jensen_shannon`, which says in one number how
    far apart they are. Densities are per unit of the prediction; each integrates to 1 over the
    whole line.

    Args:
        outputs: ``n`` predictions by the name of the model, such as before and after a penalty.
        groups: ``n`` labels; for intersections see
            :func:`~pluralign.audit.dependence.intersection_cells`.
        bandwidth: of the Gaussian kernel, > 0, in units of the predictions; ``"scott"`` takes
            ``sd n^(-1/5)`` of the first model's.
        points: where densities are taken, from the least to the greatest prediction.
        unit: what is predicted.

    Returns:
        Plain values: ``unit``, ``bandwidth``, ``points`` and ``series`` with ``cells`` of
        ``name``, ``n``, ``mean`` and ``density``.

    Raises:
        ParameterError: for options out of range.
        DataError: for no model, unequal lengths or predictions that are not finite.

    Example:
        >>> found = cell_densities({"plain": [0.1, 0.2, 0.8, 0.9]}, "aabb", bandwidth=0.1)
        >>> [(cell["name"], cell["n"]) for cell in found["series"][0]["cells"]]
        [('a', 2), ('b', 2)]
    """
    for name, value, rule in (("bandwidth", bandwidth, _BANDWIDTH), ("points", points, _POINTS)):
        if not rule.admits(value):
            raise ParameterError(f"{name} must be {rule.wants()}; got {shown(value)}.")
    if not outputs:
        raise DataError("outputs is empty; give the predictions of at least one model.")
    known = {name: grouped_outputs(values, groups) for name, values in outputs.items()}
    low, high = _reach([values for values, _, _ in known.values()])
    at = np.linspace(low, high, points)
    first = next(iter(known.values()))[0]
    spread = float(first.std(ddof=1)) if len(first) > 1 else 0.0
    width = float(bandwidth) if bandwidth != "scott" else spread * len(first) ** -0.2
    width = width or (high - low) / 20
    series: list[dict[str, Any]] = []
    for model, (values, names, index) in known.items():
        parts = [(name, values[index == place]) for place, name in enumerate(names)]
        cells = [_cell(name, part, at, width) for name, part in parts]
        series.append({"name": model, "cells": cells})
    return {"unit": unit, "bandwidth": width, "points": at.tolist(), "series": series}


def _reach(outputs: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low, high = min(float(v.min()) for v in outputs), max(float(v.max()) for v in outputs)
    around = 0.0 if high > low else max(abs(low) * 0.1, 0.5)
    return low - around, high + around


def _cell(
    name: str, values: NDArray[np.float64], at: NDArray[np.float64], width: float
) -> dict[str, Any]:
    scale = len(values) * width * np.sqrt(2 * np.pi)
    density = kernel_density(values, at, width) / scale
    mean = float(values.mean())
    return {"name": name, "n": len(values), "mean": mean, "density": density.tolist()}
