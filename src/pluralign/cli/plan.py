"""``pluralign plan PLAN``: what each group's loss would be, before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import ParameterError
from .console import JsonOption, console, interval, print_json


def plan(
    path: Annotated[
        str, typer.Argument(metavar="PLAN", help="Groups, prices, budget and objective (.yaml).")
    ],
    state: Annotated[
        str | None, typer.Option(help="State file of a running collection; its curves are used.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override: path.to.key=value; again: more.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it as a page too (.html).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print every group's predicted loss under the plan and under other strategies."""
    from ..collect.plan_file import planned
    from ..study import yaml_values

    if not Path(path).exists():
        raise ParameterError(f"there is no plan at {path}.")
    found = planned(yaml_values.tree(path, settings or ()), path)
    record = _of_state(found.plan, state) if state is not None else _of_plan(found)
    if report is not None:
        _draw(record, Path(path).stem, report)
    if as_json:
        print_json(record)
        return
    if record["strategies"]:
        _print_groups(record["groups"])
        _print_strategies(record)
    if record["next"] is not None:
        _print_next(record["next"])
    for note in record["notes"]:
        console.print(note, highlight=False, soft_wrap=True)


def _draw(record: Mapping[str, Any], name: str, path: str) -> None:
    from ..audit.report import write_collection_report
    from ..provenance import provenance

    origin = provenance()
    about: dict[str, Any] = {"title": name, "created": origin["created"], "provenance": origin}
    if "rounds" in record:
        about["notes"] = []  # the page says of a collection what the notes say
    write_collection_report({**record, **about}, path)


def _of_plan(found: Any) -> dict[str, Any]:
    """By the curves of the plan itself; without them only the pilot is known."""
    from ..collect import AdaptiveSampler
    from ..collect.forecast import forecast

    first = AdaptiveSampler(found.plan).ask()
    following = None if first is None else first.to_json()
    if found.curves is None:
        notes = [
            f"Nothing is known of {', '.join(found.unknown)}: buy the pilot and measure it, or "
            "give a curve (a guess) or points (measurements); then losses can be predicted."
        ]
        empty: dict[str, Any] = {"plan": found.plan.to_json(), "groups": [], "strategies": []}
        return {**empty, "next": following, "notes": notes}
    guessed = [name for name in found.plan.groups if name not in found.fits]
    notes = [f"By guessed curves: {', '.join(guessed)}."] if guessed else []
    notes += _flags(found.fits)
    record = forecast(found.plan, found.curves, fits=found.fits)
    return {**record, "next": following if guessed else None, "notes": notes}


def _of_state(plan: Any, path: str) -> dict[str, Any]:
    """By what a running collection has measured."""
    import numpy as np

    from ..collect import AdaptiveSampler
    from ..collect.forecast import collection_record, forecast

    if not Path(path).exists():
        raise ParameterError(f"there is no state at {path}; start the collection first.")
    sampler = AdaptiveSampler(plan, path=path)
    fits, left = sampler.fits(), plan.budget - sampler.spent
    # A copy without the file: looking ahead must not write anything.
    purchase = AdaptiveSampler(plan, state=sampler.state()).ask()
    following = None if purchase is None else purchase.to_json()
    notes = [f"{sampler.spent:g} of {plan.budget:g} is spent."]
    if len(fits) < len(plan.groups) or left <= 0:
        notes += _flags(fits)
        so_far = collection_record(sampler)
        return {**so_far, "strategies": [], "next": following, "notes": notes}
    counts = np.array([sampler.totals[name] for name in plan.groups], dtype=np.float64)
    record = forecast(plan, sampler.curves(), held=counts, budget=left, fits=fits)
    so_far = {**collection_record(sampler), **record}
    return {**so_far, "next": following, "notes": [*notes, *_flags(fits)]}


def _flags(fits: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: the curve is {fit.flag.replace('_', ' ')}."
        for name, fit in fits.items()
        if fit.flag
    ]


def _print_groups(groups: list[dict[str, Any]]) -> None:
    table = Table(title="Now", title_justify="left", header_style="bold")
    table.add_column("group")
    for column in ("samples", "price", "population", "loss", "fall per 100 more"):
        table.add_column(column, justify="right")
    for row in groups:
        gain = {k: None if v is None else 100 * v for k, v in row["gain"].items()}
        table.add_row(
            escape(row["name"]),
            f"{row['n']:.0f}",
            f"{row['cost']:g}",
            f"{row['population']:.1%}",
            _number(row["loss"]),
            interval(gain),
        )
    console.print(table)


def _print_strategies(record: Mapping[str, Any]) -> None:
    title = f"After spending {record['budget']:g}: predicted loss, samples bought below it"
    table = Table(title=escape(title), title_justify="left", header_style="bold", show_lines=True)
    table.add_column("strategy", min_width=12)
    names = [row["name"] for row in record["groups"]]
    few = len(names) <= 8
    for name in names if few else []:
        table.add_column(escape(name), justify="right")
    for column in ("mean by weight", "worst group"):
        table.add_column(column, justify="right")
    for i, one in enumerate(record["strategies"]):
        title = escape(one["name"]) + (" (the plan)" if i == 0 else "")
        if "impossible" in one:
            table.add_row(title, *["–"] * (len(names) if few else 0), "–", "cannot be met")
            continue
        cells = [f"{_number(g['loss'])}\n{g['buy']:.0f}" for g in one["groups"]] if few else []
        worst = f"{_number(one['worst_loss'])}\n{escape(one['worst_group'])}"
        table.add_row(title, *cells, _number(one["weighted_loss"]), worst)
    console.print(table)


def _print_next(purchase: Mapping[str, Any]) -> None:
    what = "pilot" if purchase["round"] == 0 else f"round {purchase['round']}"
    counts = ", ".join(f"{name} {n}" for name, n in purchase["counts"].items() if n)
    console.print(
        f"next: {what}, {purchase['cost']:g} for {escape(counts) or 'nothing'}",
        highlight=False,
        soft_wrap=True,
    )


def _number(value: float | None) -> str:
    return "no data" if value is None else f"{value:.4f}"
