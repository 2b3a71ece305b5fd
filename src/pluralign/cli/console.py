"""How every subcommand speaks: tables for people, ``--json`` for programs, one exit rule."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")]

DONE, FAILED, WRONG_INPUT = 0, 1, 2

console = Console(emoji=False)  # a model named m on a server is "server:m:", and no sign
_errors = Console(stderr=True, emoji=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else, to standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; every cell is shown as text, never read as markup."""
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for column in columns:
        numeric = column in ("n", "estimate", "truth")
        table.add_column(escape(column), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def fail(message: str) -> None:
    """Say on standard error why the input cannot be used."""
    _errors.print(f"error: {message}", style="red", markup=False, highlight=False)


def interval(cell: dict[str, Any]) -> str:
    """A value with its interval, such as ``0.712 [0.681, 0.743]``; a dash if unknown."""
    value = cell.get("value")
    if value is None:
        return "–"
    if cell.get("low") is None or cell.get("high") is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{cell['low']:.3f},\u00a0{cell['high']:.3f}]"
