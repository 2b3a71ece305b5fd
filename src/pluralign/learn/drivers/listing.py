"""Fitted coefficients in words: what drives each class, by how much, against what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .encoding import Encoded
from .penalties import Floats


@final
@dataclass(frozen=True, kw_only=True)
class Driver:
    """A column that moves the odds of a class.

    Attributes:
        column: name as encoded, such as ``"brand=b"``.
        source: the column it was made of.
        label: of the class.
        coefficient: on the standardised column.
        contrast: the coefficient minus its mean over classes; unique where a coefficient is not.
        raw: coefficient of the column as given.
        unit: of ``odds_factor``; 1 for dummies, else the deviation unless told.
        odds_factor: by how much the odds of the class are multiplied for one unit more.
        frequency: share of half-samples that select it; ``None`` where not measured.
    """

    column: str
    source: str
    label: Any
    coefficient: float
    contrast: float
    raw: float
    unit: float
    odds_factor: float
    frequency: float | None = None


def drivers_of(
    table: Floats,
    scale: Floats,
    columns: Sequence[Encoded],
    labels: Sequence[Any],
    *,
    units: Mapping[str, float] | None = None,
    frequencies: Floats | None = None,
) -> list[Driver]:
    """Nonzero coefficients, class by class, the largest first.

    Args:
        table: coefficients of standardised columns, (classes, columns).
        scale: divisor of each column, (columns,).
        columns: what they are.
        labels: of the classes.
        units: of sources or columns, for the odds factors.
        frequencies: (classes, columns).
    """
    given = units or {}
    steps = np.array([_unit(c, s, given) for c, s in zip(columns, scale.tolist(), strict=True)])
    contrasts = table - table.mean(0)
    found = list[Driver]()
    for k, label in enumerate(labels):
        order = np.argsort(-np.abs(table[k]), kind="stable")
        found += [
            Driver(
                column=columns[j].name,
                source=columns[j].source,
                label=label,
                coefficient=float(table[k, j]),
                contrast=float(contrasts[k, j]),
                raw=float(table[k, j] / scale[j]),
                unit=float(steps[j]),
                odds_factor=float(np.exp(table[k, j] / scale[j] * steps[j])),
                frequency=None if frequencies is None else float(frequencies[k, j]),
            )
            for j in order[table[k, order] != 0].tolist()
        ]
    return found


def _unit(column: Encoded, scale: float, units: Mapping[str, float]) -> float:
    own = 1.0 if column.binary else scale
    return float(units.get(column.name, units.get(column.source, own)))
