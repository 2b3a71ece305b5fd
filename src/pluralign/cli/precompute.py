"""``pluralign precompute MODEL DATA``: reference scores once, for all runs that need them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..errors import ParameterError
from .console import JsonOption, console, print_json
from .options import Reading, reads_pairs


@reads_pairs
def precompute(
    model: Annotated[
        str, typer.Argument(help="The model before tuning: directory, .gguf or packaged:NAME.")
    ],
    data: Annotated[str, typer.Argument(help="File or directory of preference pairs.")],
    output: Annotated[str, typer.Option(help="Directory for the scores.")],
    held_out: Annotated[
        str | None, typer.Option("--eval", help="Held-out pairs of the same runs.")
    ] = None,
    eval_split: Annotated[
        str | None, typer.Option(help="Split of the held-out pairs, if there are several.")
    ] = None,
    token_level: Annotated[
        bool, typer.Option("--token-level", help="Keep every token's log-probability.")
    ] = False,
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
    """Score pairs under the reference and keep the scores; scores that fit are not redone."""
    if Path(output).exists() and not Path(output).is_dir():
        raise ParameterError(f"--output {output} is a file; name a directory.")
    pairs = reading.load(data)
    eval_pairs = None
    if held_out is not None:
        eval_pairs = reading.load(held_out, split=eval_split, held_out=True)
    from ..learn import TrainingConfig
    from ..learn import precompute as scores_of
    from ..study.loading import load_named

    config = TrainingConfig(
        max_length=max_length,
        truncation=cast(Any, truncation),
        per_device_eval_batch_tokens=batch_tokens,
        disable_tqdm=as_json,
    )
    scorer, tokenizer = load_named(model)
    cache = scores_of(
        scorer,
        pairs,
        tokenizer,
        config,
        output,
        eval_pairs=eval_pairs,
        token_level=token_level,
    )
    record = {"directory": output, "rows": len(cache), "token_level": cache.token_level}
    if as_json:
        print_json({**record, "weights": cache.key.weights, "tokens": cache.key.tokens})
        return
    console.print(f"reference: {record['rows']} pairs in {output}", highlight=False, soft_wrap=True)
