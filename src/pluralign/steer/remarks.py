"""What a user is told about usable candidates that will not select well."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from ..engines.sampling.base import Prompt
from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import shown
from .directions import Law, Neighbours
from .record import Selection

_MANY_DIMENSIONS = 6
_UNLIKE_SCALES = 10.0
_STACK = 4


def check_prompts(prompts: Sequence[Prompt], *, distinct: bool = False) -> None:
    """Refuse what is no list of prompts, and repeated ones where each counts as evidence.

    Raises:
        ParameterError: for a single text, which would be taken for its letters.
        DataError: naming the row.
    """
    if isinstance(prompts, str):
        raise ParameterError("prompts must be a sequence of prompts; got one text.")
    seen: dict[str, int] = {}
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, str) and not _is_talk(prompt):
            raise DataError(
                f"prompt {row} must be a text or messages; got {shown(prompt)}.", rows=[row]
            )
        if not distinct:
            continue
        text = json.dumps(prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt])
        first = seen.setdefault(text, row)
        if first != row:
            raise DataError(
                f"prompt {row} is prompt {first} again; equal prompts get equal candidates and "
                "would count as evidence twice. Give each once.",
                rows=[row],
            )


def _is_talk(prompt: object) -> bool:
    if not isinstance(prompt, Sequence):
        return False
    turns = cast("Sequence[object]", prompt)
    return all(isinstance(turn, Mapping) for turn in turns)


def check_neighbours(
    found: Sequence[Neighbours], targets: np.ndarray, k: int, spread: float, law: Law
) -> None:
    """Refuse a target without neighbours; warn of too few, of many dimensions, of clipping.

    Raises:
        ParameterError: naming scheme and target.
    """
    for each, target in zip(found, targets, strict=True):
        if not each.count:
            raise ParameterError(
                f"scheme {each.scheme!r} has no direction within {spread:g} degrees of the target "
                f"{shown(target.round(4).tolist())}; use 'offset', 'uniform' or 'toward', or a "
                "wider grid."
            )
    fewer = [i for i, each in enumerate(found) if each.count < k]
    if fewer:
        one = found[fewer[0]]
        _tell(
            f"scheme {one.scheme!r} has only {one.count} directions within {spread:g} degrees of "
            f"the target {shown(targets[fewer[0]].round(4).tolist())}, fewer than k = {k}, for "
            f"{_of(fewer, found)}; best of {k} at the target would draw more."
        )
    if targets.shape[-1] >= _MANY_DIMENSIONS and law == "cap" and found[0].scheme == "uniform":
        _tell(
            f"in {targets.shape[-1]} dimensions nearly all uniform draws lie close to "
            f"{spread:g} degrees from the target; law='angle' draws nearer ones too."
        )
    clipped = [i for i, each in enumerate(found) if each.clipped]
    if clipped:
        _tell(
            f"directions of {_of(clipped, found)} kept a negative part after 100 draws; it was "
            "set to zero, and such a direction may lie outside the spread."
        )


def check_records(records: Sequence[Selection], standardise: str) -> None:
    """Warn of prompts without a choice, of alike candidates, constant rewards, unlike scales.

    Raises:
        DataError: if no prompt has a candidate that could be scored, with the first reason.
    """
    if not records:
        return
    failed = [i for i, record in enumerate(records) if record.chosen is None]
    if len(failed) == len(records):
        raise DataError(
            f"all {sum(map(len, records))} candidates of all {len(records)} prompts failed"
            f"{_reason(records[0])}; nothing can be chosen.",
            rows=failed,
        )
    if failed:
        _tell(
            f"all candidates of {_of(failed, records)} failed (first: prompt {failed[0]}"
            f"{_reason(records[failed[0]])}); nothing was chosen there."
        )
    alike = _where(records, lambda r: len({one.text for one in r.candidates}) == 1)
    if alike:
        _tell(
            f"all candidates of {_of(alike, records)} are identical: the generator ignores the "
            "direction, or the temperature is 0."
        )
    constant = _where(records, lambda r: not np.ptp(r.rewards[r.ok], axis=0).any())
    constant = sorted(set(constant) - set(alike))
    if constant:
        _tell(
            f"rewards are constant over the candidates of {_of(constant, records)}: the scorer "
            "does not separate them, the first was chosen."
        )
    if standardise == "none":
        _check_scales(records)


def _check_scales(records: Sequence[Selection]) -> None:
    """Within-prompt standard deviations of the attributes, pooled over prompts."""
    pools = [r.rewards[r.ok] for r in records if r.ok.sum() > 1]
    if not pools:
        return
    widths = np.sqrt(np.mean([pool.var(axis=0) for pool in pools], axis=0))
    moving = widths[widths > 0]
    if len(moving) > 1 and moving.max() > _UNLIKE_SCALES * moving.min():
        names = records[0].names
        high, low = int(widths.argmax()), int(np.where(widths > 0, widths, np.inf).argmin())
        _tell(
            f"attribute {names[high]!r} varies {widths[high] / widths[low]:.3g} times as much "
            f"between candidates as {names[low]!r} and decides nearly alone; use "
            "standardise='pool', or scale the scorer."
        )


def _where(records: Sequence[Selection], holds: Callable[[Selection], bool]) -> list[int]:
    """Records with at least two usable candidates for which something holds."""
    return [i for i, r in enumerate(records) if r.ok.sum() > 1 and holds(r)]


def _reason(record: Selection) -> str:
    said = [one.error for one in record.candidates if one.error]
    return f", {shown(said[0])}" if said else ""


def _of(some: Sequence[int], every: Sequence[object]) -> str:
    return f"{len(some)} of {len(every)} prompts"


def _tell(message: str) -> None:
    warnings.warn(message, DataQualityWarning, stacklevel=_STACK)
