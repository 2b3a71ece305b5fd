"""``pluralign precompute MODEL DATA``: reference scores once, for all runs that need them."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from .console import JsonOption, console, print_json


def precompute(
    model: Annotated[str, typer.Argument(help="Directory of the model before tuning.")],
    data: Annotated[str, typer.Argument(help="File or directory of preference pairs.")],
    output: Annotated[str, typer.Option(help="Directory for the scores.")],
    held_out: Annotated[
        str | None, typer.Option("--eval", help="Held-out pairs of the same runs.")
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
    drop_unusable: Annotated[
        bool, typer.Option("--drop-unusable", help="Drop blank rows with a warning.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score pairs under the reference and keep the scores; scores that fit are not redone."""
    import torch

    from ..datasets import load_preferences
    from ..learn import TrainingConfig
    from ..learn import precompute as scores_of
    from ..learn.scratch import load_model, load_tokenizer

    config = TrainingConfig(
        max_length=max_length,
        truncation=cast(Any, truncation),
        per_device_eval_batch_tokens=batch_tokens,
        disable_tqdm=as_json,
    )
    pairs = [
        load_preferences(path, drop_unusable=drop_unusable)
        for path in (data, held_out)
        if path is not None
    ]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cache = scores_of(
        load_model(model).to(device),
        pairs[0],
        load_tokenizer(model),
        config,
        output,
        eval_pairs=pairs[1] if len(pairs) > 1 else None,
        token_level=token_level,
    )
    record = {"directory": output, "rows": len(cache), "token_level": cache.token_level}
    if as_json:
        print_json({**record, "weights": cache.key.weights, "tokens": cache.key.tokens})
        return
    console.print(f"reference: {record['rows']} pairs in {output}", highlight=False, soft_wrap=True)
