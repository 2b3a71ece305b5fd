"""The record of a collection as typed values, checked once, tolerant of what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any, cast, final

from ...errors import DataError
from ...rules import shown
from .fields import Estimate, finite, items, mapping, number_of, read_estimate, text_of


@final
@dataclass(frozen=True)
class Measured:
    """One measured loss: of a model trained on ``n`` samples."""

    n: float
    loss: float
    error: float | None


@final
@dataclass(frozen=True)
class Group:
    """One group as it stands: what it has, what it costs, its curve and its next gain.

    ``worth`` is ``n``, or with transfer the samples of its own that all samples are worth.
    """

    name: str
    n: float | None
    worth: float | None
    cost: float | None
    population: float | None
    loss: float | None
    gain: Estimate
    welfare: float | None
    curve: tuple[float, float, float] | None
    flag: str
    points: tuple[Measured, ...]
    weight: float | None

    def loss_at(self, n: float) -> float | None:
        """What the curve says of ``n`` samples."""
        if self.curve is None or n <= 0:
            return None
        a, b, gamma = self.curve
        return a + b * n**-gamma


@final
@dataclass(frozen=True)
class Round:
    """What one round bought, what was predicted of it and what was measured after it."""

    number: int
    bought: Mapping[str, float]
    spent: float | None
    predicted: Mapping[str, float]
    obtained: Mapping[str, float]
    note: str


@final
@dataclass(frozen=True)
class Share:
    """What one strategy leaves a group with."""

    name: str
    n: float | None
    buy: float | None
    loss: float | None


@final
@dataclass(frozen=True)
class Strategy:
    """One way to spend the money; ``impossible`` says why it cannot be met."""

    name: str
    groups: tuple[Share, ...]
    weighted: float | None
    worst: float | None
    worst_group: str
    impossible: str

    def of(self, name: str) -> Share | None:
        """The part of a group."""
        return next((share for share in self.groups if share.name == name), None)


@final
@dataclass(frozen=True)
class Collection:
    """All that the report of a collection draws."""

    title: str
    created: str
    names: tuple[str, ...]
    costs: tuple[float, ...]
    budget: float | None
    spent: float | None
    objective: str
    rounds: tuple[Round, ...]
    groups: tuple[Group, ...]
    strategies: tuple[Strategy, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def counts_worst(self) -> bool:
        """Whether the objective looks at the worst-off group alone."""
        return self.objective == "maximin"

    @property
    def left(self) -> float | None:
        """Money that is not spent yet."""
        return None if self.budget is None else self.budget - (self.spent or 0.0)


def read_collection(record: object) -> Collection:
    """Check the record of a plan or of a running collection.

    Raises:
        DataError: if it has no plan, or naming the part that is not of the expected kind.
    """
    top = mapping(record, "collection record")
    plan = mapping(top.get("plan"), "plan")
    names = tuple(map(str, _list(plan.get("groups"), "plan.groups")))
    if not names:
        raise DataError(
            "the collection record has nothing to report: it needs a 'plan' with 'groups'; got "
            f"keys {sorted(map(str, top))}."
        )
    costs = tuple(finite(value) or 0.0 for value in _list(plan.get("cost"), "plan.cost"))
    weights = mapping(top.get("inclusion_weights"), "inclusion_weights")
    worth = _worth(plan, top.get("groups"), len(names))
    return Collection(
        title=text_of(top, "title") or "Whom to ask next",
        created=text_of(top, "created"),
        names=names,
        costs=costs if len(costs) == len(names) else (0.0,) * len(names),
        budget=number_of(plan, "budget", "plan"),
        spent=number_of(top, "spent", "collection record"),
        objective=text_of(mapping(plan.get("objective"), "plan.objective"), "name"),
        rounds=tuple(_round(part, at) for part, at in items(top.get("rounds"), "rounds")),
        groups=tuple(
            _group(part, at, weights, worth[place] if place < len(worth) else None)
            for place, (part, at) in enumerate(items(top.get("groups"), "groups"))
        ),
        strategies=tuple(_strategy(*part) for part in items(top.get("strategies"), "strategies")),
        notes=tuple(map(str, _list(top.get("notes"), "notes"))),
        provenance=mapping(top.get("provenance"), "provenance"),
    )


def _worth(plan: Mapping[str, Any], groups: object, size: int) -> list[float | None]:
    """Samples of its own that all samples are worth to each group, by the plan's transfer."""
    counts = [number_of(part, "n", at) for part, at in items(groups, "groups")]
    rows = _list(plan.get("transfer"), "plan.transfer")
    if len(rows) != size or len(counts) != size or None in counts:
        return counts
    known = cast("list[float]", counts)
    found: list[float | None] = []
    for place, row in enumerate(rows):
        shares = [finite(value) or 0.0 for value in _list(row, f"plan.transfer[{place}]")]
        found.append(sum(share * n for share, n in zip(shares, known, strict=False)))
    return found


def _group(
    record: Mapping[str, Any], at: str, weights: Mapping[str, Any], worth: float | None
) -> Group:
    name = text_of(record, "name") or "(no name)"
    curve = mapping(record.get("curve"), f"{at}.curve")
    parameters = [number_of(curve, key, f"{at}.curve") for key in ("a", "b", "gamma")]
    known = None not in parameters
    return Group(
        name=name,
        n=number_of(record, "n", at),
        worth=worth,
        cost=number_of(record, "cost", at),
        population=number_of(record, "population", at),
        loss=number_of(record, "loss", at),
        gain=read_estimate(mapping(record.get("gain"), f"{at}.gain"), f"{at}.gain"),
        welfare=number_of(record, "welfare_gain_per_cost", at),
        curve=cast("tuple[float, float, float]", tuple(parameters)) if known else None,
        flag=text_of(curve, "flag").replace("_", " "),
        points=_points(curve, f"{at}.curve.points"),
        weight=finite(weights.get(name)),
    )


def _points(curve: Mapping[str, Any], at: str) -> tuple[Measured, ...]:
    found: list[Measured] = []
    for part, place in items(curve.get("points"), at):
        n, loss = number_of(part, "n", place), number_of(part, "loss", place)
        if n is not None and loss is not None and n > 0 and not isinf(n):
            found.append(Measured(n, loss, number_of(part, "se", place)))
    return tuple(sorted(found, key=lambda point: point.n))


def _round(record: Mapping[str, Any], at: str) -> Round:
    return Round(
        number=int(number_of(record, "round", at) or 0),
        bought=_numbers(record, "bought", at),
        spent=number_of(record, "spent", at),
        predicted=_numbers(record, "predicted", at),
        obtained=_numbers(record, "obtained", at),
        note=text_of(record, "note"),
    )


def _strategy(record: Mapping[str, Any], at: str) -> Strategy:
    shares: list[Share] = []
    for part, place in items(record.get("groups"), f"{at}.groups"):
        numbers = (number_of(part, key, place) for key in ("n", "buy", "loss"))
        shares.append(Share(text_of(part, "name"), *numbers))
    return Strategy(
        name=text_of(record, "name") or "(no name)",
        groups=tuple(shares),
        weighted=number_of(record, "weighted_loss", at),
        worst=number_of(record, "worst_loss", at),
        worst_group=text_of(record, "worst_group"),
        impossible=text_of(record, "impossible"),
    )


def _numbers(record: Mapping[str, Any], key: str, at: str) -> dict[str, float]:
    place = f"{at}.{key}"
    found = mapping(record.get(key), place)
    numbers = {str(name): number_of(found, name, place) for name in found}
    return {name: value for name, value in numbers.items() if value is not None}


def _list(value: object, at: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{at} must be a list; got {shown(value)}.")
    return list(cast("list[object]", value))
