"""``pluralign audit DATA --model MODEL``: whom does a model serve, without training."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from .console import JsonOption, console, print_json
from .options import Reading, reads_pairs
from .run import print_audit


@reads_pairs
def audit(
    data: Annotated[str, typer.Argument(help="File or directory of preference pairs.")],
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="Directory of a model, a .gguf file, or packaged:NAME; again: more models.",
        ),
    ],
    reference: Annotated[
        str | None, typer.Option("--reference", help="The model before tuning, likewise.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Scale that the models were tuned with.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Directory for audit.json and report.html.")
    ] = None,
    max_length: Annotated[int, typer.Option(help="Longest prompt plus response, tokens.")] = 1024,
    truncation: Annotated[
        str, typer.Option(help="For longer pairs: error, drop or left_prompt.")
    ] = "error",
    batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a forward pass; 16 pairs if not given.")
    ] = None,
    as_json: JsonOption = False,
    *,
    reading: Reading,
) -> None:
    """Audit one or more models on preference pairs, by group."""
    pairs = reading.load(data)
    from ..learn import TrainingConfig
    from ..study.auditing import audit_pairs

    config = TrainingConfig(
        max_length=max_length,
        truncation=cast(Any, truncation),
        per_device_eval_batch_tokens=batch_tokens,
    )
    result = audit_pairs(
        pairs, models, reference=reference, beta=beta, output=output, config=config
    )
    if as_json:
        print_json(result.record)
        return
    print_audit(result.record)
    if result.report:
        console.print(f"report: {result.report}", highlight=False, soft_wrap=True)
