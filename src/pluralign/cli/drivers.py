"""``pluralign drivers TABLE``: what goes with a choice, how stably, tested on unseen rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import DataError, ParameterError
from ..rules import nearest
from .console import JsonOption, console, print_json

_CLASSES = ("shares", "thirds")


def drivers(
    path: Annotated[
        str, typer.Argument(metavar="TABLE", help="Rows of choices (.csv, .jsonl, .parquet).")
    ],
    outcome: Annotated[str, typer.Option(help="Column of what was chosen, or 1 where it was.")],
    unit: Annotated[
        str | None, typer.Option(help="Column of who or what comes back; kept whole in folds.")
    ] = None,
    alternative: Annotated[
        str | None, typer.Option(help="Column that names the alternative of a row (long tables).")
    ] = None,
    choice: Annotated[
        str | None, typer.Option(help="Column that numbers choices (long tables).")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A column that is no attribute; again: more.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Make classes of a number: shares (paper's edges), thirds.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of ChoiceDrivers: name=value.")
    ] = None,
    test_share: Annotated[float, typer.Option(help="Of the rows, held out for the test.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of split, folds and halves.")] = 0,
    output: Annotated[str | None, typer.Option(help="Where to write the record (.json).")] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it as a page too (.html).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find which columns go with each class of a choice, and how stably."""
    from ..datasets.choices import load_choices
    from ..files import write_json
    from ..learn.drivers import ChoiceDrivers, driver_report

    if not Path(path).exists():
        raise ParameterError(f"there is no table at {path}.")
    found = load_choices(
        path,
        outcome=outcome,
        unit=unit,
        alternative=alternative,
        choice=choice,
        leave_out=leave_out or (),
    )
    model = ChoiceDrivers(**{"missing": "impute", **_parameters(settings or ())})
    units = None if unit is None else found.unit
    y = found.y if classes is None else _classes(found.y, classes, outcome)
    told = driver_report(model, found.columns, y, units=units, test_share=test_share, seed=seed)
    record = {"title": f"What goes with {outcome}", "source": found.source, **told.to_json()}
    if output is not None:
        write_json(output, record)
    if report is not None:
        _draw(record, report)
    if as_json:
        print_json(record)
        return
    _print(record)


def _parameters(settings: Sequence[str]) -> dict[str, Any]:
    """Parameters of the estimator, written ``name=value``."""
    from ..learn.drivers.estimator import RULES
    from ..study import yaml_values

    found: dict[str, Any] = {}
    for one in settings:
        name, sign, text = one.partition("=")
        if not sign or name not in RULES:
            raise ParameterError(f"--set {one}: no such parameter; {nearest(name, list(RULES))}")
        found[name] = yaml_values.parse(text, f"--set {name}", "a YAML value")
    return found


def _classes(y: Any, kind: str, outcome: str) -> Any:
    import numpy as np

    from ..learn.drivers import quantile_classes, share_classes

    if kind not in _CLASSES:
        raise ParameterError(f"classes {kind!r} is unknown; {nearest(kind, _CLASSES)}")
    try:
        numbers = np.asarray(y, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"column {outcome!r} must hold numbers for classes: {error}.") from None
    return share_classes(numbers) if kind == "shares" else quantile_classes(numbers)


def _draw(record: Mapping[str, Any], path: str) -> None:
    from ..audit.report import write_drivers_report
    from ..provenance import provenance

    origin = provenance()
    write_drivers_report({**record, "created": origin["created"], "provenance": origin}, path)


def _print(record: Mapping[str, Any]) -> None:
    title = f"{record['title']}: drivers at the rule {record['rule']}"
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for column in ("class", "column"):
        table.add_column(column)
    for column in ("effect", "odds factor", "per", "frequency"):
        table.add_column(column, justify="right")
    for one in record["drivers"]:
        frequency = one["frequency"]
        often = "–" if frequency is None else f"{frequency:.0%}"
        numbers = [f"{one['contrast']:+.3f}", f"{one['odds_factor']:.3g}", f"{one['unit']:.3g}"]
        table.add_row(escape(str(one["label"])), escape(one["column"]), *numbers, often)
    console.print(table)
    for rule, test in record["tests"].items():
        console.print(
            f"{rule}: {test['accuracy']:.3f} [{test['low']:.3f}, {test['high']:.3f}] of "
            f"{test['n']} rows never used told right; the commonest class gives "
            f"{test['majority_accuracy']:.3f}",
            highlight=False,
            soft_wrap=True,
        )
    for one in record["dropped"]:
        partner = f" beside {one['partner']}" if one["partner"] else ""
        vif = "infinite" if one["vif"] is None else f"{one['vif']:.3g}"
        console.print(
            escape(f"left out: {one['name']} (variance inflation {vif}){partner}"),
            highlight=False,
            soft_wrap=True,
        )
