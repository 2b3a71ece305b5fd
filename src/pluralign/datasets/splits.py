"""Dividing pairs into training and evaluation without letting a prompt sit on both sides."""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from typing import Literal

import numpy as np

from ..data import Preferences
from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import Within, shown


def train_eval_split(
    pairs: Preferences,
    eval_share: float,
    seed: int = 0,
    by: Literal["group", "annotator", "domain"] | None = "group",
) -> tuple[Preferences, Preferences]:
    """Divide pairs so that every group is on both sides and no prompt is.

    Prompts are taken in a random order; all pairs of a prompt go to evaluation if that
    brings the groups concerned closer to their share, else to training.

    Args:
        pairs: the pairs.
        eval_share: share of each group's pairs for evaluation, in (0, 1).
        seed: >= 0; the same pairs and seed give the same division.
        by: column to keep the share in; ``"group"`` has no effect on pairs without groups.

    Returns:
        Training and evaluation pairs, both in their old order.

    Raises:
        ParameterError: if ``eval_share`` or ``seed`` is out of range.
        DataError: if a column is not there, or a side would be empty.

    Example:
        >>> rows = [{"prompt": f"{i}?", "chosen": "a", "rejected": "b"} for i in range(10)]
        >>> [len(part) for part in train_eval_split(Preferences.from_records(rows), 0.2)]
        [8, 2]
    """
    _check(eval_share, seed)
    names = _names(pairs, by)
    rows_of_prompt: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(pairs.prompt):
        rows_of_prompt[json.dumps(prompt, sort_keys=True)].append(row)
    units = list(rows_of_prompt.values())
    lacking = {name: eval_share * size for name, size in Counter(names).items()}
    held_out = np.zeros(len(pairs), dtype=np.bool_)
    for unit in np.random.default_rng(seed).permutation(len(units)).tolist():
        rows = units[unit]
        # To take all rows of a prompt brings the groups closer to their share exactly if
        # they still lack more than half of what it adds.
        if sum(lacking[names[row]] / len(rows) for row in rows) >= len(rows) / 2:
            held_out[rows] = True
            for row in rows:
                lacking[names[row]] -= 1.0
    return _sides(pairs, held_out, names, len(units))


def _sides(
    pairs: Preferences, held_out: np.ndarray, names: list[str], prompts: int
) -> tuple[Preferences, Preferences]:
    if held_out.all() or not held_out.any():
        raise DataError(
            f"{len(pairs)} pairs with {prompts} different prompts cannot be divided at this share; "
            "choose another eval_share or bring more prompts.",
            source=pairs.source,
        )
    unheard = sorted(set(names) - {names[row] for row in np.flatnonzero(held_out)})
    if unheard:
        warnings.warn(
            f"{pairs.source}: no evaluation pairs for {unheard}; too few prompts at this share.",
            DataQualityWarning,
            stacklevel=3,
        )
    return pairs.select(~held_out), pairs.select(held_out)


def _names(pairs: Preferences, by: str | None) -> list[str]:
    column = None if by is None else getattr(pairs, by, None)
    if column is None and by not in (None, "group"):
        raise DataError(f"there is no column {by!r} to divide by.", source=pairs.source)
    return list(column) if column is not None else [""] * len(pairs)


def _check(eval_share: float, seed: int) -> None:
    share, seeds = Within(0.0, 1.0, closed="neither"), Within(0, integer=True)
    problems = [
        f"{name} must be {rule.wants()}; got {shown(value)}."
        for name, rule, value in (("eval_share", share, eval_share), ("seed", seeds, seed))
        if not rule.admits(value)
    ]
    if problems:
        raise ParameterError("\n".join(problems))
