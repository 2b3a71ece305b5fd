"""``pluralign run RECIPE``: from pairs to tuned, audited models and a report."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import JsonOption, console, interval, print_json, print_table


def run(
    recipe: Annotated[str, typer.Argument(help="YAML recipe; see recipes/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override: path.to.key=value.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in the same place.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: prepare, tune, audit, report."""
    from ..study import load_recipe, run_recipe

    result = run_recipe(load_recipe(recipe, settings or ()), overwrite=overwrite, quiet=as_json)
    if as_json:
        print_json(result.record)
        return
    print_audit(result.record)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


def print_audit(record: dict[str, Any]) -> None:
    """Print an audit record as tables, the worst-off group first."""
    if record.get("noise"):
        print_table(
            "flip rate of the labels, by group",
            ("group", "estimator", "estimate", "95% interval", "truth", "n"),
            [
                (
                    row["group"],
                    row["estimator"],
                    f"{row['estimate']:.3f}",
                    f"[{row['low']:.3f}, {row['high']:.3f}]",
                    "–" if row["truth"] is None else f"{row['truth']:.3f}",
                    row["n"],
                )
                for row in record["noise"]
            ],
        )
    models = record["models"]
    frames = [model["frames"]["ranking_accuracy"] for model in models]
    cells = [{cell["name"]: cell for cell in frame["groups"]} for frame in frames]
    rows = [(g, cell["n"], *(interval(c[g]) for c in cells)) for g, cell in cells[0].items()]
    rows.append(("all", frames[0]["overall"]["n"], *(interval(f["overall"]) for f in frames)))
    rows.append(("worst-off group", "", *(str(frame["worst"]) for frame in frames)))
    columns = (frames[0]["by"], "n", *(model["name"] for model in models))
    print_table("ranking accuracy on held-out pairs", columns, rows)
    print_table(
        "paired differences in ranking accuracy",
        ("models", frames[0]["by"], "n", "difference"),
        [
            (f"{comparison['a']} - {comparison['b']}", cell["name"], cell["n"], interval(cell))
            for comparison in record["comparisons"]
            for cell in _cells(comparison["frame"])
        ],
    )


def _cells(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [*frame["groups"], {**frame["overall"], "name": "all"}]
