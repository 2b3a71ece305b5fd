"""``pluralign steer RECIPE``: prompts steered to what users want, against best of k."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import JsonOption, console, interval, print_json, print_table


def steer(
    recipe: Annotated[str, typer.Argument(help="YAML recipe of a steering run; see recipes/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override: path.to.key=value.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run instead of going on.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Steer prompts by neighbouring directions; killed and started again, it goes on."""
    from ..study.steering import load_steering, run_steering

    checked = load_steering(recipe, settings or [])
    result = run_steering(checked, overwrite=overwrite, quiet=as_json)
    if as_json:
        print_json(result.record)
        return
    print_steering(result.record)
    console.print(f"record: {result.directory / 'steering.json'}", highlight=False, soft_wrap=True)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


def print_steering(record: dict[str, Any]) -> None:
    """Print what steering gave, target by target, and what the diagnosis had said."""
    second = record["independent_scorer"]
    columns = ("target", "n", "steered", "baseline", "gain", "win rate", "words", "answers")
    rows = [_row(target, bool(second)) for target in record["targets"]]
    print_table(
        f"score at the target: {record['scorer']}, k = {record['k']}",
        (*columns, *(["gain by another scorer"] if second else [])),
        rows,
    )
    if second:
        console.print(f"another scorer: {second}", markup=False, highlight=False)
    for target, found in zip(record["targets"], record["coverage_gain"], strict=False):
        said = "neighbours help" if found["helps"] else "no gain to be expected"
        console.print(
            f"diagnosis at {_name(target)}: {said}, by {found['n'][0]} held-out prompts.",
            markup=False,
            highlight=False,
        )


def _row(target: dict[str, Any], second: bool) -> tuple[str, ...]:
    wins, length, drawn = target["wins"], target["length"], target["generations"]
    row = (
        _name(target),
        str(target["n_prompts"]),
        _number(target["rps"]["mean"]),
        _number(target["baseline"]["mean"]),
        interval(target["gain"]),
        interval({**wins, "value": wins["rate"]}),
        f"{_number(length['rps'], 1)} / {_number(length['baseline'], 1)}",
        f"{drawn['rps']} / {drawn['baseline']}",
    )
    return (*row, interval(target["independent"]["gain"])) if second else row


def _name(target: dict[str, Any]) -> str:
    if target["angle"] is not None:
        return f"{target['angle']:g} degrees"
    return f"({', '.join(f'{value:.2f}' for value in target['direction'])})"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
