"""``pluralign check RECIPE|DATA``: everything that can be known before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonOption, console, print_json, print_table


def check(
    target: Annotated[str, typer.Argument(help="A recipe (.yaml) or a file of pairs.")],
    group: Annotated[str | None, typer.Option(help="Column that names the group.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe: path.to.key=value.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe or a data file; exit code 2 with every problem if it cannot be used."""
    if Path(target).suffix in (".yaml", ".yml"):
        record = _recipe(target, settings or [])
    else:
        record = _data(target, group)
    if as_json:
        print_json(record)
        return
    print_table(target, ("what", "value"), record.items())
    console.print("ok", style="green")


def _recipe(target: str, settings: list[str]) -> dict[str, Any]:
    from ..study import load_recipe

    recipe = load_recipe(target, settings)
    return {
        "name": recipe.name,
        "data": recipe.data.world or recipe.data.path,
        "objectives": {name: repr(t.objective) for name, t in recipe.tune.items()},
        "output_dir": recipe.output_dir,
    }


def _data(target: str, group: str | None) -> dict[str, Any]:
    from ..datasets import load_preferences

    pairs = load_preferences(target, group=group)
    return {
        "pairs": len(pairs),
        "groups": pairs.group_sizes(),
        "fingerprint": pairs.fingerprint(),
    }
