"""A market of plans whose drivers are known, to see what a method finds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from ..rules import Within, shown

Floats = NDArray[np.float64]

_BRANDS = "ABCDE"  # of six: F is compared with
# name: mean and deviation of the column, effect of a deviation more on log share
_MONEY = {
    "moop": (5500.0, 1500.0, -0.6),
    "deductible": (250.0, 120.0, -0.5),
    "copay": (30.0, 12.0, -0.4),
    "premium": (40.0, 25.0, 0.0),
    "rebate": (90.0, 35.0, 0.0),
}
_EFFECTS = {"brand_A": 1.2, "brand_B": -0.8, "ppo": 0.8, "drug": 0.9}
_CORRELATION = 0.6
_FAMILY_SD, _OWN_SD = 0.4, 0.45
_YEARLY = 0.3
_FLIPPED = 0.08
_SHARES = (47 / 172, 107 / 172)


@final
@dataclass(frozen=True, kw_only=True)
class MarketWorld:
    """Plans of several years, their shares, and what drove them.

    Attributes:
        columns: attributes by name, (n,) each.
        share: of the market, sums to 1, (n,).
        y: class of the share, 0 to 2, (n,).
        unit: the plan that a row is a year of, (n,).
        effects: on log share of one unit of a dummy, one deviation of money; the drivers.
        ancillary: dummies without any effect.
    """

    columns: Mapping[str, Floats]
    share: Floats
    y: NDArray[np.int64]
    unit: NDArray[np.int64]
    effects: Mapping[str, float]
    ancillary: tuple[str, ...]


def make_market(
    seed: int = 0,
    *,
    n: int = 172,
    n_plans: int = 60,
    n_ancillary: int = 40,
    n_noise: int = 7,
) -> MarketWorld:
    """Draw a market; seven columns drive shares, five brands and money columns among them.

    Use it to check what a screen and a lasso find, and what happens if rows of one plan are
    taken for independent. Classes split log share at 27 % and 62 % (47, 60 and 65 of 172)::

        log share = 1.2 A - .8 B + .8 PPO + .9 drug - .6 z(moop) - .5 z(deductible)
            - .4 z(copay) + N(0, .4^2) of the plan + N(0, .45^2) of the year

    Brand, PPO and drug coverage stay with a plan; money moves by 0.3 deviations a year, and 8 %
    of the ancillary dummies flip.

    Args:
        seed: of all draws.
        n: rows.
        n_plans: plans that the rows are years of, at most ``n``.
        n_ancillary: dummies without effect.
        n_noise: numbers without effect, drawn anew each year.

    Raises:
        ParameterError: for counts that are not possible.

    Example:
        >>> world = make_market(0)
        >>> len(world.columns), np.bincount(world.y).tolist(), sorted(world.effects)[:2]
        (59, [47, 60, 65], ['brand_A', 'brand_B'])
    """
    _check(n, n_plans, n_ancillary, n_noise)
    rng = np.random.default_rng(seed)
    plan = np.sort(np.concatenate([np.arange(n_plans), np.arange(n - n_plans) % n_plans]))
    brand = rng.integers(0, len(_BRANDS) + 1, n_plans)[plan]
    columns = {f"brand_{name}": (brand == k).astype(float) for k, name in enumerate(_BRANDS)}
    columns["ppo"] = (rng.random(n_plans) < 0.4)[plan].astype(float)
    columns["drug"] = (rng.random(n_plans) < 0.75)[plan].astype(float)
    columns |= _money(rng, plan, n_plans)
    flags = rng.random((n_ancillary, n_plans)) < rng.uniform(0.2, 0.8, n_ancillary)[:, None]
    flipped = rng.random((n_ancillary, n)) < _FLIPPED
    ancillary = tuple(f"extra_{j:02d}" for j in range(n_ancillary))
    columns |= dict(zip(ancillary, (flags[:, plan] ^ flipped).astype(float), strict=True))
    columns |= {f"noise_{j}": rng.normal(size=n) for j in range(n_noise)}
    logs = rng.normal(scale=_FAMILY_SD, size=n_plans)[plan] + rng.normal(scale=_OWN_SD, size=n)
    logs += sum(effect * columns[name] for name, effect in _EFFECTS.items())
    for name, (mean, deviation, effect) in _MONEY.items():
        logs += effect * (columns[name] - mean) / deviation
    rank = np.argsort(np.argsort(logs))
    share = np.exp(logs - logs.max())
    return MarketWorld(
        columns=columns,
        share=share / share.sum(),
        y=np.searchsorted(np.round(np.array(_SHARES) * n), rank, side="right").astype(np.int64),
        unit=plan.astype(np.int64),
        effects=_EFFECTS | {name: e for name, (_, _, e) in _MONEY.items() if e},
        ancillary=ancillary,
    )


def _money(rng: np.random.Generator, plan: NDArray[np.int64], n_plans: int) -> dict[str, Floats]:
    """Columns correlated between each other, moving a little from year to year."""
    count = len(_MONEY)
    shared = rng.normal(size=n_plans)
    own = rng.normal(size=(count, n_plans))
    values = np.sqrt(_CORRELATION) * shared + np.sqrt(1 - _CORRELATION) * own
    yearly = values[:, plan] + _YEARLY * rng.normal(size=(count, len(plan)))
    return {
        name: mean + deviation * value
        for (name, (mean, deviation, _)), value in zip(_MONEY.items(), yearly, strict=True)
    }


def _check(n: int, n_plans: int, n_ancillary: int, n_noise: int) -> None:
    rules = {
        "n": (n, Within(12, integer=True)),
        "n_plans": (n_plans, Within(2, n, integer=True)),
        "n_ancillary": (n_ancillary, Within(0, integer=True)),
        "n_noise": (n_noise, Within(0, integer=True)),
    }
    wrong = [
        f"make_market: {name} must be {rule.wants()}; got {shown(value)}."
        for name, (value, rule) in rules.items()
        if not rule.admits(value)
    ]
    if wrong:
        raise ParameterError("\n".join(wrong))
