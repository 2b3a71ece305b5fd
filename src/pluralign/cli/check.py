"""``pluralign check RECIPE|DATA``: everything that can be known before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..errors import ParameterError
from .console import FAILED, JsonOption, console, print_json, print_table
from .options import Reading, reads_pairs
from .run import recipe_of


@reads_pairs
def check(
    target: Annotated[str, typer.Argument(help="A recipe (.yaml), or pairs: file or directory.")],
    held_out: Annotated[
        str | None, typer.Option("--eval", help="Held-out pairs, to look for leakage.")
    ] = None,
    eval_split: Annotated[
        str | None, typer.Option(help="Split of the held-out pairs, if there are several.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="For tokens at the seam: directory, .gguf file or packaged:NAME."),
    ] = None,
    max_length: Annotated[int, typer.Option(help="Longest prompt plus response, tokens.")] = 1024,
    truncation: Annotated[
        str | None,
        typer.Option(help="What training does with longer pairs: error, drop or left_prompt."),
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Show shortened texts of the first rows.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe: path.to.key=value.")
    ] = None,
    as_json: JsonOption = False,
    *,
    reading: Reading,
) -> None:
    """Check a recipe or a data file.

    Exit code 2 with every problem if it cannot be used, 1 if a finding is an error.
    """
    about_data = {"--eval": held_out, "--tokenizer": tokenizer, "--examples": examples}
    about_data |= {"--truncation": truncation}
    if Path(target).suffix in (".yaml", ".yml"):
        _no_effect(about_data | {"--eval-split": eval_split}, "a recipe")
        _recipe(target, settings or [], reading, as_json)
        return
    _no_effect({"--set": settings}, "pairs")
    if tokenizer is None:
        _no_effect({"--truncation": truncation}, "a check without --tokenizer")
    if held_out is None:
        _no_effect({"--eval-split": eval_split}, "a check without --eval")
    pairs = reading.load(target)
    eval_pairs = None
    if held_out is not None:
        eval_pairs = reading.load(held_out, split=eval_split, held_out=True)
    from ..audit.quality import check_data

    audit = check_data(
        pairs,
        tokenizer=_tokenizer(tokenizer),
        max_length=max_length,
        truncation=cast(Any, truncation),
        eval_pairs=eval_pairs,
    )
    if as_json:
        print_json(audit.to_json())
    else:
        _show(audit, examples)
    if audit.worst_severity == "error":
        raise typer.Exit(FAILED)


def _no_effect(options: Mapping[str, object], on: str) -> None:
    for name, value in options.items():
        if value:
            raise ParameterError(f"{name} has no effect on {on}; drop it.")


def _tokenizer(name: str | None) -> Any:
    if name is None:
        return None
    from ..study.loading import named_tokenizer

    return named_tokenizer(name)


def _show(audit: Any, examples: bool) -> None:
    rows = [(f.severity, f.title, f.what, _first(f)) for f in audit.findings]
    title = f"{audit.source}: {audit.n_pairs} pairs, {len(rows)} findings"
    print_table(title, ("severity", "finding", "what", "pairs"), rows)
    for finding in audit.findings:
        if finding.severity == "note":
            continue
        console.print(f"{finding.title}: {finding.why} {finding.remedy}", markup=False)
        if examples:
            for text in finding.data.get("examples", ()):
                console.print(f"  {text}", markup=False, highlight=False)


def _first(finding: Any, shown: int = 6) -> str:
    """Ids of the first pairs: those of the data, or else the numbers of their rows there."""
    listed = ", ".join(finding.ids[:shown])
    return f"{listed}, …" if len(finding.rows) > shown else listed


def _recipe(target: str, settings: list[str], reading: Reading, as_json: bool) -> None:
    from ..study import yaml_values

    steers = "targets" in yaml_values.tree(target, settings)
    record = _steering(target, settings) if steers else _tuning(target, settings, reading)
    if as_json:
        print_json(record)
        return
    print_table(target, ("what", "value"), record.items())
    console.print("ok", style="green")


def _tuning(target: str, settings: list[str], reading: Reading) -> dict[str, Any]:
    recipe = recipe_of(target, settings, reading)
    return {
        "name": recipe.name,
        "data": recipe.data.world or recipe.data.path,
        "objectives": {name: repr(t.objective) for name, t in recipe.tune.items()},
        "output_dir": recipe.output_dir,
    }


def _steering(target: str, settings: list[str]) -> dict[str, Any]:
    from ..study.steering import load_steering

    recipe = load_steering(target, settings)
    return {
        "name": recipe.name,
        "prompts": "a world" if recipe.prompts is None else recipe.prompts.path,
        "targets": recipe.targets.rows().round(3).tolist(),
        "selection": {name: getattr(recipe.selection, name) for name in ("k", "spread", "scheme")},
        "output_dir": recipe.output_dir,
    }
