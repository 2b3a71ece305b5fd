"""``pluralign audit MODEL DATA``: whom does a model serve, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import JsonOption, console, print_json
from .run import print_audit


def audit(
    data: Annotated[str, typer.Argument(help="File or directory of preference pairs.")],
    models: Annotated[
        list[str], typer.Option("--model", help="Directory of a model; may be given again.")
    ],
    reference: Annotated[
        str | None, typer.Option("--reference", help="Directory of the reference model.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Scale that the models were tuned with.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Column that names the group.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Directory for audit.json and report.html.")
    ] = None,
    max_length: Annotated[int, typer.Option(help="Longest prompt plus response, tokens.")] = 1024,
    drop_unusable: Annotated[
        bool, typer.Option("--drop-unusable", help="Drop blank rows with a warning.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Audit one or more models on preference pairs, by group."""
    from ..study.auditing import audit_files

    result = audit_files(
        data,
        models,
        reference=reference,
        beta=beta,
        group=group,
        output=output,
        max_length=max_length,
        drop_unusable=drop_unusable,
    )
    if as_json:
        print_json(result.record)
        return
    print_audit(result.record)
    if result.report:
        console.print(f"report: {result.report}", highlight=False, soft_wrap=True)
