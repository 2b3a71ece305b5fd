"""Why a package is what it is: reasons by item, what more money buys, which raters it hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .disagreement import names_of
from .fields import Estimate, finite, items, mapping, number_of, read_estimate, text_of
from .intervals import Intervals, Mark, Row
from .parts import Section, make_figure
from .scales import MISSING, number, percent, signed
from .svg import isolated, plain
from .tables import Cell, Table, figure, word
from .words import interval

MONEY: Final = (
    "What the same rule buys with more money: its package is decided anew, so items may leave it "
    "too. Changes are of the total and of the utility of whoever is then worst off."
)
RATERS: Final = (
    "People drawn anew within their groups, the package decided anew each time: the dot is what "
    "was decided, the line holds {} of the draws."
)


def reasons_section(top: Mapping[str, Any]) -> Section | None:
    """Why each item is in or out; ``None`` where nothing is explained."""
    told = mapping(top.get("explanation"), "explanation")
    found = items(told.get("items"), "explanation.items")
    if not found:
        return None
    rows = [
        (
            word(text_of(one, "item")),
            figure(number_of(one, "cost", at), number),
            word("in" if one.get("chosen") else "out"),
            word(text_of(one, "reason")),
        )
        for one, at in found
    ]
    table = Table("Why each item is in or out", ("item", "cost", "package", "reason"), tuple(rows))
    return Section("items", "Items", "Why is an item in or out?", (), (table,))


def money_section(top: Mapping[str, Any]) -> Section | None:
    """What a little more money would buy, and which limits bind."""
    told = mapping(top.get("explanation"), "explanation")
    budgets = items(told.get("budgets"), "explanation.budgets")
    binding = items(told.get("binding"), "explanation.binding")
    if not budgets and not binding:
        return None
    tables: list[Table] = []
    if budgets:
        head = ("budget", "more", "added", "dropped", "total", "worst-off")
        rows = tuple(
            (
                figure(number_of(one, "budget", at), number),
                figure(number_of(one, "extra", at), signed),
                word(", ".join(names_of(one, "added")) or MISSING),
                word(", ".join(names_of(one, "dropped")) or MISSING),
                *_changes(one, at),
            )
            for one, at in budgets
        )
        tables.append(Table("What more money would buy", head, rows))
    head = ("limit", "total without it", "worst-off without it")
    rows = tuple(
        (word(_limit(text_of(one, "constraint"))), *_changes(one, at)) for one, at in binding
    )
    if rows:
        tables.append(Table("Which limits bind", head, rows))
    title = "What would a little more money buy?"
    return Section("money", "Money", title, (), tuple(tables), MONEY)


def _limit(text: str) -> str:
    return "the budget (a quarter more)" if text == "budget" else text


def _changes(one: Mapping[str, Any], at: str) -> tuple[Cell, ...]:
    return tuple(figure(number_of(one, key, at), signed) for key in ("total", "worst"))


def raters_section(top: Mapping[str, Any]) -> Section | None:
    """Intervals over raters and the share of draws that choose each item."""
    told = mapping(top.get("bootstrap"), "bootstrap")
    groups = items(told.get("groups"), "bootstrap.groups")
    if not groups:
        return None
    named = [(text_of(one, "name"), read_estimate(one, at)) for one, at in groups]
    worst, total = (
        read_estimate(mapping(told.get(key), f"bootstrap.{key}"), f"bootstrap.{key}")
        for key in ("worst", "total")
    )
    named.append(("whoever is worst off", worst))
    draw = Intervals(tuple(_row(*pair) for pair in named), (), number, "utility")
    head = ("group", "utility", "low", "high")
    cells = [
        (word(name), *(figure(part, number) for part in (one.value, one.low, one.high)))
        for name, one in [*named, ("all groups together", total)]
    ]
    table = Table("Utility with intervals over raters", head, tuple(cells))
    share = percent(finite(told.get("confidence")))
    made = make_figure(
        "raters-figure", "Utility of each group", [RATERS.format(share)], draw, table
    )
    return Section("raters", "Raters", "How much hangs on who was asked?", (made,), _stays(told))


def _row(name: str, one: Estimate) -> Row:
    text = number(one.value)
    tip = f"{isolated(name)}\n{text}{interval(one, number)}"
    return Row(plain(name), "", (Mark(0, one.value, one.low, one.high, tip, text),))


def _stays(told: Mapping[str, Any]) -> tuple[Table, ...]:
    found = items(told.get("items"), "bootstrap.items")
    if not found:
        return ()
    ordered = sorted(found, key=lambda pair: -(number_of(pair[0], "share", pair[1]) or 0.0))
    rows = [
        (word(text_of(one, "item")), figure(number_of(one, "share", at), percent))
        for one, at in ordered
    ]
    return (Table("How often each item is chosen", ("item", "share of the draws"), tuple(rows)),)
