"""``pluralign run RECIPE``: from pairs to tuned, audited models and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import typer

from .console import JsonOption, console, interval, print_json, print_table
from .options import Reading, allow_downloads, reads_pairs


@reads_pairs
def run(
    recipe: Annotated[str, typer.Argument(help="YAML recipe; see recipes/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override: path.to.key=value.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in the same place.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record where the time of a few steps goes.")
    ] = False,
    as_json: JsonOption = False,
    *,
    reading: Reading,
) -> None:
    """Run a recipe: prepare, tune, audit, report."""
    checked = recipe_of(recipe, settings or [], reading)
    from ..study import run_recipe

    result = run_recipe(checked, overwrite=overwrite, quiet=as_json, profile=profile)
    if as_json:
        print_json(result.record)
        return
    print_audit(result.record)
    if profile:
        folder = result.directory / "profile"
        console.print(f"profile: {folder}", highlight=False, soft_wrap=True)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


def recipe_of(path: str, settings: Sequence[str], reading: Reading) -> Any:
    """The checked recipe, with what the options say of its data."""
    from ..study import yaml_values

    told = [*settings, *reading.settings()]
    data = yaml_values.tree(path, told).get("data")
    if isinstance(data, dict) and cast("dict[str, Any]", data).get("allow_download") is True:
        allow_downloads()  # before the next line imports what reads the setting
    from ..study import load_recipe

    return load_recipe(path, told)


def print_audit(record: dict[str, Any]) -> None:
    """Print an audit record as tables, the worst-off group first."""
    print_findings(record.get("data_audit") or {})
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
    if len(cells[0]) > 1:
        rows.append(("worst-off group", "", *(str(frame["worst"]) for frame in frames)))
    columns = (frames[0]["by"], "n", *(model["name"] for model in models))
    print_table("ranking accuracy on held-out pairs", columns, rows)
    if len(cells[0]) == 1:
        console.print(
            f"note: all pairs are of one group, {next(iter(cells[0]))!r}, so nothing can be said "
            "of whom the models serve less; name a column with --group (data.group in a recipe).",
            markup=False,
        )
    if not record["comparisons"]:
        return
    print_table(
        "paired differences in ranking accuracy",
        ("models", frames[0]["by"], "n", "difference"),
        [
            (f"{comparison['a']} - {comparison['b']}", cell["name"], cell["n"], interval(cell))
            for comparison in record["comparisons"]
            for cell in _cells(comparison["frame"])
        ],
    )


def print_findings(audit: Mapping[str, Any]) -> None:
    """Print what the check of the pairs found that should be looked at."""
    grave = [f for f in audit.get("findings", ()) if f["severity"] != "note"]
    if grave:
        rows = [(finding["severity"], finding["title"], finding["what"]) for finding in grave]
        print_table("what is wrong with the pairs", ("severity", "finding", "what"), rows)


def _cells(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [*frame["groups"], {**frame["overall"], "name": "all"}]
