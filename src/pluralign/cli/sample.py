"""``pluralign sample PROMPTS``: candidates for a file of prompts, as JSONL."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import ParameterError
from .console import JsonOption, console, print_json


def sample(
    prompts: Annotated[
        str, typer.Argument(help="Prompts: .txt (one a line), JSON, JSONL, CSV or Parquet.")
    ],
    output: Annotated[str, typer.Option(help="JSONL file of candidates; gone on with if there.")],
    model: Annotated[
        str, typer.Option(help="Directory, .gguf file, packaged:NAME, or the server's name.")
    ],
    sampler: Annotated[str, typer.Option(help="What samples.")] = "transformers",
    dtype: Annotated[
        str | None, typer.Option(help="Of the weights: float32, bfloat16, float16; own if unset.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Of the sampler: key=value; again: more.")
    ] = None,
    toward: Annotated[
        list[str] | None, typer.Option(help="Weight of an attribute: name=value; again: more.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Candidates of each prompt.", min=1)] = 1,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Smallest set of tokens with this mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    field: Annotated[str, typer.Option(help="Column of the prompts.")] = "prompt",
    group: Annotated[str | None, typer.Option(help="Column that names the group.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many prompts.", min=1)
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Make a text the turn of a user.")] = False,
    batch: Annotated[int, typer.Option(help="Prompts of one call; a kill loses these.", min=1)] = 8,
    as_json: JsonOption = False,
) -> None:
    """Draw candidates; killed and started again, it goes on where it was."""
    from ..engines.sampling.base import SamplingParams
    from ..study.steering import SamplerSection, read_prompts, sample_prompts

    params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    weights = {name: _weight(name, value) for name, value in _parsed("--toward", toward).items()}
    section = SamplerSection(
        name=sampler, model=model, dtype=dtype, options=_parsed("--option", options)
    )
    asked = read_prompts(prompts, field=field, group=group, limit=limit, chat=chat)
    made = section.sampler(tuple(weights) or None, journal=f"{output}.journal")
    found = sample_prompts(
        made,
        asked,
        output,
        n=n,
        params=params,
        direction=_direction(weights),
        batch=batch,
        settings=_settings(section, weights, chat),
        quiet=as_json,
    )
    if as_json:
        print_json({"output": output, **found})
        return
    _tell(output, n, found)


def _settings(section: Any, weights: dict[str, float], chat: bool) -> dict[str, Any]:
    """What decides the candidates beside the call itself."""
    own = {"model": section.model, "dtype": section.dtype, "options": section.options}
    return {**own, "toward": weights, "chat": chat}


def _tell(output: str, n: int, found: dict[str, int]) -> None:
    console.print(
        f"candidates: {n} for each of {found['prompts']} prompts in {output}, "
        f"{found['drawn']} of them new",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _direction(weights: dict[str, float]) -> Any:
    if not weights:
        return None
    import numpy as np

    return np.array(list(weights.values()), dtype=np.float64)


def _parsed(option: str, given: list[str] | None) -> dict[str, Any]:
    from ..study import yaml_values

    parsed: dict[str, Any] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not name or not separator:
            raise ParameterError(f"{option} needs key=value; got {text!r}.")
        parsed[name] = yaml_values.parse(value, f"{option} {name}", "a YAML value")
    return parsed


def _weight(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParameterError(f"--toward {name} must be a number; got {value!r}.")
    return float(value)
