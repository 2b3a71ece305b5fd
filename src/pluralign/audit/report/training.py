"""Training curves out of ``metrics.jsonl`` rows, whatever prefix their names carry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .fields import finite
from .multiples import Line, thinned
from .reading import Model
from .svg import isolated

Points = tuple[tuple[float, float], ...]

HELD_OUT = ("eval_", "eval/")
PREFIXES = (*HELD_OUT, "", "train_", "train/")
MAX_POINTS = 160
"""More points than this cannot be told apart on a page; the file keeps them all."""

_GROUP = re.compile(r"^(?:eval_|eval/|train_|train/|)group/(.+)/ranking_accuracy$", re.DOTALL)


def points(rows: Sequence[Mapping[str, Any]], key: str) -> Points:
    """(step, value) of one key, in order of steps; a step logged twice keeps its last value."""
    found: dict[float, float] = {}
    for place, row in enumerate(rows):
        value, step = finite(row.get(key)), finite(row.get("step", place))
        if value is not None and step is not None:
            found[step] = value
    return tuple(thinned(sorted(found.items()), MAX_POINTS))


def curve(rows: Sequence[Mapping[str, Any]], key: str) -> Points:
    """The curve of a metric: held-out values where there are at least two, else any."""
    found = [points(rows, f"{prefix}{key}") for prefix in PREFIXES]
    return next((p for p in found if len(p) > 1), next((p for p in found if p), ()))


def loss_lines(model: Model) -> tuple[Line, ...]:
    """Training and held-out loss."""
    rows = model.training
    kinds = (
        ("training", "train", [points(rows, "loss"), points(rows, "train/loss")]),
        ("held out", "held-out", [points(rows, f"{prefix}loss") for prefix in HELD_OUT]),
    )
    return tuple(Line(name, look, max(found, key=len)) for name, look, found in kinds if any(found))


def group_lines(model: Model) -> tuple[Line, ...]:
    """Ranking accuracy by group, the worst-off first, then all pairs, then the others."""
    rows = model.training
    keys = dict.fromkeys(str(key) for row in rows for key in row)
    names = dict.fromkeys(match.group(1) for match in map(_GROUP.match, keys) if match)
    groups = {name: curve(rows, f"group/{name}/ranking_accuracy") for name in names}
    groups = {name: found for name, found in groups.items() if found}
    worst = _worst_of(model, groups)
    lines = [Line(isolated(worst), "worst", groups[worst])] if worst is not None else []
    overall = curve(rows, "ranking_accuracy")
    if overall:
        lines.append(Line("all pairs", "all", overall))
    lines += [Line(isolated(n), "rest", found) for n, found in groups.items() if n != worst]
    return tuple(lines)


def _worst_of(model: Model, groups: Mapping[str, Points]) -> str | None:
    """The worst-off group of the audit, else the one whose curve ends lowest."""
    frame = model.frames.get("ranking_accuracy")
    if frame is not None and frame.worst is not None and frame.worst.name in groups:
        return frame.worst.name
    return min(groups, key=lambda name: groups[name][-1][1], default=None)


def drift_lines(model: Model) -> tuple[Line, ...]:
    """Change of the log-probability of chosen and rejected responses.

    Against the reference where it was logged. Else since the first evaluation, whose pairs
    are always the same; batches of training are of other pairs each time, so that their
    log-probabilities say nothing of a change.
    """
    rows, sides = model.training, ("chosen", "rejected")
    exact = [curve(rows, f"log_ratio/{side}") for side in sides]
    if all(exact):
        return _two_sides(exact)
    for prefix in HELD_OUT:
        raw = [points(rows, f"{prefix}logps/{side}") for side in sides]
        if all(len(found) > 1 for found in raw):
            return _two_sides([_since_start(found) for found in raw])
    return ()


def checkpoint_lines(model: Model) -> tuple[Line, ...]:
    """Ranking accuracy and win rate at the checkpoints of a training."""
    kinds = (("ranking accuracy", "held-out", "ranking_accuracy"), ("win rate", "wins", "win_rate"))
    found = [(name, look, points(model.checkpoints, key)) for name, look, key in kinds]
    return tuple(Line(name, look, made) for name, look, made in found if made)


def _two_sides(found: Sequence[Points]) -> tuple[Line, ...]:
    return (Line("chosen", "chosen", found[0]), Line("rejected", "rejected", found[1]))


def _since_start(found: Points) -> Points:
    return tuple((step, value - found[0][1]) for step, value in found)
