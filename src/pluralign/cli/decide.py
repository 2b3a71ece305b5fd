"""``pluralign decide PATH``: a package within a budget, or a default direction of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import ParameterError
from .console import JsonOption, console, print_json

if TYPE_CHECKING:
    from ..decide.plan_file import PlannedDecision


def decide(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A plan (.yaml, .json), or the directory of a steering run."
        ),
    ],
    concept: Annotated[
        str | None, typer.Option(help="What decides; the plan's, or negotiate.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="Where to write; decision.json beside the plan or in the run."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override: path.to.key=value; again: more.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it as a page too (.html).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a package for groups that disagree, beside what other concepts would choose."""
    from ..decide import bootstrap, compare
    from ..decide.concepts import CONCEPTS
    from ..decide.plan_file import PlannedDecision, planned_decision, steering_problem
    from ..decide.record import decision_record
    from ..files import write_json
    from ..rules import nearest
    from ..study import yaml_values

    source = Path(path)
    if not source.exists():
        raise ParameterError(f"there is no plan or run at {path}.")
    if source.is_dir():
        if settings:
            raise ParameterError("--set changes a plan; a steering run is taken as it is.")
        plan = PlannedDecision(steering_problem(source), "leximin", "Default direction")
    else:
        plan = planned_decision(yaml_values.tree(path, settings or ()), path)
    asked = concept or plan.concept
    if asked not in CONCEPTS:
        raise ParameterError(f"concept {asked!r} is unknown; {nearest(asked, CONCEPTS)}")
    drawn = None if plan.ratings is None else bootstrap(plan.problem, plan.ratings, asked)
    record = decision_record(
        plan.problem,
        compare(plan.problem),
        chosen=asked,
        title=plan.title,
        source=path,
        resampled=drawn,
    )
    beside = source / "decision.json" if source.is_dir() else source.with_name("decision.json")
    written = write_json(output or beside, record)
    if report is not None:
        _draw(record, plan, report)
    if as_json:
        print_json(record)
        return
    _print(record)
    console.print(f"written: {escape(str(written))}", highlight=False, soft_wrap=True)


def _draw(record: Mapping[str, Any], plan: PlannedDecision, path: str) -> None:
    from ..audit.report import write_decision_report
    from ..provenance import provenance

    origin = {**provenance(), "created": record["created"]}
    apart = _disagreement(plan)
    write_decision_report({**record, "provenance": origin}, path, disagreement=apart)


def _disagreement(plan: PlannedDecision) -> dict[str, Any] | None:
    """How far groups are apart in what items are worth to them, by criterion if there are any."""
    from ..audit.disagreement import disagreement
    from ..audit.disagreement.distances import distance_to_others

    groups, values = plan.problem.group_names, plan.problem.value_table
    what = {"what": "values of the items"}
    if plan.parts is not None:
        # One order of effects holds for all groups, so that their concordance says nothing.
        apart = distance_to_others(plan.parts).round(12).tolist()
        return {**what, "groups": groups, "criteria": plan.criteria, "distance": apart}
    if values.shape[1] < 2:
        return None
    found = disagreement(values[:, :, None], groups=groups, criteria=("all items",))
    return {**found.to_json(), **what}


def _print(record: Mapping[str, Any]) -> None:
    asked = next(one for one in record["decisions"] if one["concept"] == record["chosen"])
    choice = ", ".join(asked["choice"]) or "nothing"
    console.print(
        f"{escape(record['title'])}: {asked['concept'].replace('_', ' ')} chooses "
        f"{escape(choice)} for {asked['cost']:g} of {asked['budget']:g}.",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="What each group gets", title_justify="left", header_style="bold")
    table.add_column("concept")
    for name in asked["groups"]:
        table.add_column(escape(name), justify="right")
    for column in ("total", "worst", "gini", "cost"):
        table.add_column(column, justify="right")
    table.add_row(*_cells("nothing bought", record["before"]))
    for one in record["decisions"]:
        mark = " (chosen)" if one is asked else ""
        proof = "" if one["optimal"] else " (not proved)"
        table.add_row(*_cells(one["concept"].replace("_", " ") + mark + proof, one))
    console.print(table)
    for note in record["notes"]:
        console.print(escape(note), highlight=False, soft_wrap=True)


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    found = row["measures"]
    gini = "–" if found["gini"] is None else f"{found['gini']:.3f}"
    utilities = [f"{value:.3f}" for value in row["utilities"]]
    worst = f"{found['worst']['value']:.3f}"
    return [escape(name), *utilities, f"{found['total']:.3f}", worst, gini, f"{row['cost']:g}"]
