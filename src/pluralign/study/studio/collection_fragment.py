"""The collection as HTML: each group's loss now and after more money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...audit.report.intervals import Intervals, Mark, Row
from ...audit.report.scales import number
from ...audit.report.svg import isolated, plain
from .collecting import Collection, spend
from .fragments import drawn, filled

LISTED = 30
"""Groups that are drawn and listed, those with the largest loss afterwards."""


def collection_view(found: Collection, money: float, objective: str | None) -> str:
    """Whom more money would serve, the group with the largest loss afterwards first.

    Args:
        found: a collection whose pilot was told.
        money: to spend from now on.
        objective: by name; the plan's own if not given.
    """
    record = spend(found, money, objective)
    first, *others = record["strategies"]
    rows = list(zip(record["groups"], first["groups"], strict=True))
    rows.sort(key=lambda pair: -_size(pair[1]["loss"]))
    return filled(
        "collection.html.j2",
        headline=_headline(first, money),
        intervals=drawn(_drawing(rows[:LISTED])),
        rows=[(plain(now["name"], 60), _cells(now, after)) for now, after in rows[:LISTED]],
        others=[(one["name"], _other(one)) for one in others],
    )


def _headline(first: Mapping[str, Any], money: float) -> str:
    return (
        f"Spending {number(money)} by the rule {first['name']}: {isolated(first['worst_group'])} "
        f"is left with the largest loss, {number(first['worst_loss'])}; the mean by weight is "
        f"{number(first['weighted_loss'])}."
    )


def _drawing(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Intervals:
    made: list[Row] = []
    for place, (now, after) in enumerate(rows):
        tip = f"{isolated(now['name'])}\n{number(now['loss'])} now, {number(after['loss'])} then"
        text = number(after["loss"])
        mark = Mark(0, after["loss"], None, None, tip, text, before=now["loss"])
        bought = f"{after['buy']:,.0f} bought"
        made.append(Row(plain(now["name"], 60), bought, (mark,), tag="" if place else "worst"))
    keys = ((0, "afterwards"), (-2, "now"))
    return Intervals(tuple(made), keys, number, "predicted loss")


def _cells(now: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    counts = [f"{value:,.0f}" for value in (now["n"], after["buy"])]
    return [number(now["cost"]), *counts, number(now["loss"]), number(after["loss"])]


def _other(one: Mapping[str, Any]) -> list[str]:
    if "impossible" in one:
        return ["–", "cannot be met", ""]
    group = plain(one["worst_group"], 60)
    return [number(one["weighted_loss"]), number(one["worst_loss"]), group]


def _size(loss: float | None) -> float:
    return float("inf") if loss is None else loss
