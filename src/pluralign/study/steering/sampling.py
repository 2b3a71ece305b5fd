"""Candidates for a file of prompts, written as they come, to be gone on with after a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from ...engines.sampling.base import Sampler, SamplingParams
from ...errors import ParameterError
from ...files import write_json
from ...provenance import provenance
from ...steer.sphere import Floats
from .experiment import refuse_difference
from .lines import Lines
from .prompts import Asked


def sample_prompts(
    sampler: Sampler,
    asked: Sequence[Asked],
    output: str | Path,
    *,
    n: int = 1,
    params: SamplingParams | None = None,
    direction: Floats | None = None,
    batch: int = 8,
    settings: dict[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, int]:
    """Draw ``n`` candidates for each prompt into a JSONL file.

    Use it for candidates that are worth keeping. A line is ``{"row", "group", "prompt",
    "candidates": [Candidate.to_json(), ...]}``; lines of a batch reach the disk together, and
    a run that was killed goes on with the prompts that have none. Where the candidates come
    from is in a file beside it, with ``.run.json`` at the end of its name.

    Args:
        sampler: draws.
        asked: distinct prompts.
        output: the file.
        n: candidates of each, >= 1.
        params: how they are drawn.
        direction: asked of all prompts, (d,).
        batch: prompts of one call.
        settings: what else decides the candidates; a run with other ones is refused.
        quiet: show no progress.

    Returns:
        ``{"prompts", "drawn"}``: lines in the file, and how many of them are new.

    Raises:
        ParameterError: if the file was made with other settings, or is no such file.

    Example:
        >>> import tempfile
        >>> from pluralign.engines.sampling import ScriptedSampler
        >>> sampler = ScriptedSampler(answer=lambda p, v, rng: f"{p} {rng.integers(9)}")
        >>> output = Path(tempfile.mkdtemp()) / "candidates.jsonl"
        >>> asked = [Asked("a", ""), Asked("b", "")]
        >>> sample_prompts(sampler, asked[:1], output, n=3, quiet=True)
        {'prompts': 1, 'drawn': 1}
        >>> sample_prompts(sampler, asked, output, n=3, quiet=True)
        {'prompts': 2, 'drawn': 1}
    """
    output = Path(output)
    params = params or SamplingParams()
    wanted = [None if direction is None else [float(x) for x in direction], n, asdict(params)]
    decides = dict(zip(("direction", "n", "sampling"), wanted, strict=True))
    _begin(output, {"sampler": sampler.name, **decides, **(settings or {})})
    with Lines(output) as lines:
        done = {json.dumps(row["prompt"]) for row in lines.rows}
        size, rows = batch, range(len(asked))
        batches = [rows[start : start + size] for start in range(0, len(asked), size)]
        left = [part for part in batches if not done.issuperset(_keys(asked, part))]
        before = len(lines.rows)
        console = Console(stderr=True)
        for part in track(left, "prompts", disable=quiet, console=console):
            prompts = [asked[row].prompt for row in part]
            directions = None if direction is None else np.tile(direction, (len(part), 1))
            drawn = sampler.sample(prompts, n, params, directions)
            lines.append(
                [
                    {
                        "row": row,
                        "group": asked[row].group,
                        "prompt": asked[row].prompt,
                        "candidates": [one.to_json() for one in candidates],
                    }
                    for row, candidates in zip(part, drawn, strict=True)
                    if _keys(asked, [row])[0] not in done
                ]
            )
        return {"prompts": len(lines.rows), "drawn": len(lines.rows) - before}


def _begin(output: Path, decides: dict[str, Any]) -> None:
    """Find where the file comes from, or say it."""
    path = output.with_name(f"{output.name}.run.json")
    decides = json.loads(json.dumps(decides))
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["decides"]
        advice = "name another output, or remove both files."
        refuse_difference(before, decides, str(output), advice)
        return
    if output.exists() and output.stat().st_size:
        raise ParameterError(
            f"{output} is not empty and there is no {path.name} that says where it comes from; "
            "name another output."
        )
    write_json(path, {"kind": "candidates", **provenance(decides=decides)})


def _keys(asked: Sequence[Asked], rows: Sequence[int]) -> list[str]:
    return [json.dumps(asked[row].prompt) for row in rows]
