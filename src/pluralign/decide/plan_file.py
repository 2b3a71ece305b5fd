"""Problems from files: a plan with named items and groups, or the record of a steering run.

::

    title: Two streets
    budget: 40
    concept: negotiate
    items:
      ramp:    {cost: 12, effects: {accessibility: 1.0}}
      benches: {cost: 8,  values: {seniors: 2, parents: 1}}     # instead of effects
    groups:
      seniors: {weights: {accessibility: 3, aesthetics: 1}, base: 0, disagreement: 0, weight: 1}
      parents: {weights: {accessibility: 1, aesthetics: 1}}
    conflicts: [[ramp, benches]]
    requires: []
    members: [[1, 0], [0, 1]]      # optional, of each person: belongs to which groups
    ratings: [[2, 1], [0, 3]]      # optional, of each person: worth of each item; for a bootstrap
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

import numpy as np

from ..errors import DataError
from ..rules import nearest, shown
from .fields import Floats
from .problem import PackageProblem

_TOP = (
    "title",
    "budget",
    "concept",
    "items",
    "groups",
    "conflicts",
    "requires",
    "members",
    "ratings",
)
_ITEM = ("cost", "effects", "values")
_GROUP = ("weights", "base", "disagreement", "weight")


@final
@dataclass(frozen=True, eq=False)
class PlannedDecision:
    """What a file asks for.

    Attributes:
        problem: items, groups, budget.
        concept: how to decide.
        title: for people.
        ratings: ``(P, m)``, what each item is worth to each person; ``None`` if not told.
        parts: ``(G, m, C)``, what an item's effect on each criterion is worth to each group;
            ``None`` where values were given by group.
        criteria: C names.
    """

    problem: PackageProblem
    concept: str
    title: str
    ratings: Any = None
    parts: Floats | None = None
    criteria: tuple[str, ...] = ()


def planned_decision(values: Mapping[str, Any], source: str = "plan") -> PlannedDecision:
    """The problem of a plan's values.

    Args:
        values: as read from YAML or JSON; the form of ``PackageProblem.to_json`` works too.
        source: for messages.

    Raises:
        DataError: for an unknown key, group, item or criterion, or one that is missing.
    """
    told: dict[str, Any] = {"ratings": values.get("ratings")}
    if "values" in values:
        rest = {k: v for k, v in values.items() if k not in ("title", "concept", "ratings")}
        fields = PackageProblem.__dataclass_fields__
        _known(rest, list(fields), source)
        _present(rest, ("values", "cost", "budget"), source)
        problem = PackageProblem.from_json(rest)
    else:
        _known(values, _TOP, source)
        _present(values, ("budget", "items", "groups"), source)
        problem, told["parts"], told["criteria"] = _named(values, source)
    concept = str(values.get("concept", "negotiate"))
    return PlannedDecision(problem, concept, str(values.get("title") or "Decision"), **told)


def _named(
    values: Mapping[str, Any], source: str
) -> tuple[PackageProblem, Floats | None, tuple[str, ...]]:
    items, groups = (_mapping(values[key], f"{source}: {key}") for key in ("items", "groups"))
    for kind, rows, keys in (("items", items, _ITEM), ("groups", groups, _GROUP)):
        for name, row in rows.items():
            _known(_mapping(row, f"{source}: {kind}.{name}"), keys, f"{source}: {kind}.{name}")
    for name, row in items.items():
        _present(row, ("cost",), f"{source}: items.{name}")
    start = [row.get("base", 0.0) for row in groups.values()]
    point = [row.get("disagreement", row.get("base", 0.0)) for row in groups.values()]
    weights = [row.get("weight", 1.0) for row in groups.values()]
    optional = {k: values[k] for k in ("conflicts", "requires", "members") if k in values}
    criteria = tuple(sorted({name for row in groups.values() for name in _weights(row)}))
    parts = _parts(items, groups, criteria, source)
    problem = PackageProblem(
        parts.sum(axis=2),
        [row["cost"] for row in items.values()],
        values["budget"],
        base=start,
        disagreement=point,
        weights=weights,
        groups=tuple(map(str, groups)),
        items=tuple(map(str, items)),
        **optional,
    )
    by_criterion = not any("values" in row for row in items.values())
    return problem, parts[:, :, :-1] if by_criterion else None, criteria


def _weights(row: Mapping[str, Any]) -> Mapping[str, Any]:
    given = row.get("weights") or {}
    if not isinstance(given, Mapping):
        raise DataError(f"weights must map criteria to numbers; got {shown(given)}.")
    return cast("Mapping[str, Any]", given)


def _parts(
    items: Mapping[str, Any], groups: Mapping[str, Any], criteria: Sequence[str], source: str
) -> Floats:
    """Worth of items to groups, by criterion; last what is given without criteria."""
    found = np.zeros((len(groups), len(items), len(criteria) + 1))
    for j, (item, row) in enumerate(items.items()):
        where = f"{source}: items.{item}"
        if ("effects" in row) == ("values" in row):
            raise DataError(f"{where} needs either effects on criteria or values by group.")
        given = _mapping(row.get("effects", row.get("values")), where)
        _known(given, criteria if "effects" in row else list(groups), where)
        for g, (name, group) in enumerate(groups.items()):
            if "values" in row:
                found[g, j, -1] = _number(given.get(name, 0.0), where)
                continue
            own = _weights(group)
            if not own:
                raise DataError(f"{source}: groups.{name} has no criterion weights.")
            total = sum(_number(value, f"{source}: groups.{name}") for value in own.values())
            if total <= 0 or min(own.values()) < 0:
                raise DataError(
                    f"{source}: groups.{name}: weights must be >= 0 and not all 0; got {own}."
                )
            for criterion, effect in given.items():
                share = own.get(criterion, 0.0) / total
                found[g, j, criteria.index(criterion)] = share * _number(effect, where)
    return found


def steering_problem(directory: str | Path) -> PackageProblem:
    """Which direction shall be the default: the targets of a steering run as items.

    One direction is chosen (each costs 1, the budget is 1). The parties are the groups of the
    prompts, each with the mean reward over attributes of what was chosen for its prompts; of a
    run with fewer than two groups they are the attributes. Utilities count from the direction
    that serves a party least.

    Args:
        directory: of ``pluralign steer``, with ``selections.jsonl``.

    Raises:
        DataError: naming file and line, for a record that cannot be read.
    """
    path = Path(directory) / "selections.jsonl"
    if not path.exists():
        raise DataError(f"there is no {path.name} in {directory}: this is no steering run.")
    rows = [_selection(line, n, path) for n, line in enumerate(path.read_text().splitlines())]
    kept = [row for row in rows if row is not None]
    if not kept:
        raise DataError(f"{path}: no prompt has a chosen answer.")
    names, parties = kept[0][3], sorted({row[1] for row in kept if row[1]})
    targets = {row[0]: row[4] for row in kept}
    by_group = len(parties) >= 2 and all(row[1] for row in kept)
    parties = parties if by_group else list(names)
    found = np.full((len(parties), len(targets)), np.nan)
    for j, target in enumerate(sorted(targets)):
        mine = [row for row in kept if row[0] == target]
        for g, party in enumerate(parties):
            rewards = [r[2].mean() if by_group else r[2][g] for r in mine]
            told = [x for x, r in zip(rewards, mine, strict=True) if not by_group or r[1] == party]
            if not told:
                raise DataError(f"{path}: group {party!r} has no answer for target {target}.")
            found[g, j] = np.mean(told)
    least = found.min(axis=1)
    return PackageProblem(
        found - least[:, None],
        np.ones(len(targets)),
        1,
        base=least,
        groups=tuple(parties),
        items=tuple(_direction(targets[t], names) for t in sorted(targets)),
    )


def _selection(line: str, number: int, path: Path) -> Any:
    """Target, group, chosen rewards, attribute names and direction of one line."""
    try:
        values = json.loads(line)
        steered = values["rps"]
        if steered["chosen"] is None:
            return None
        rewards = np.array(steered["rewards"][steered["chosen"]], dtype=np.float64)
        return values["target"], values["group"], rewards, steered["names"], steered["target"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"line {number + 1} is no steering record ({error}).", source=str(path), rows=[number]
        ) from None


def _direction(target: Any, names: Any) -> str:
    return ", ".join(f"{name} {part:.3f}" for name, part in zip(names, target, strict=True))


def _mapping(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not given:
        raise DataError(f"{where} must be a mapping that is not empty; got {shown(given)}.")
    return {str(name): value for name, value in cast("Mapping[Any, Any]", given).items()}


def _known(given: Mapping[str, Any], keys: Collection[str], where: str) -> None:
    for name in given:
        if name not in keys:
            raise DataError(f"{where}: {name!r} is unknown; {nearest(str(name), keys)}")


def _present(given: Mapping[str, Any], keys: Collection[str], where: str) -> None:
    missing = [key for key in keys if key not in given]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}.")


def _number(given: Any, where: str) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise DataError(f"{where}: {shown(given)} is no number.")
    return float(given)
