"""What the report says of many groups at once: how they are ranked, and which are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .fields import Frame, Slice
from .scales import percent_tick
from .svg import isolated

_FEW: Final = 5
"""Up to so many uncorrected intervals, luck needs no words."""


def order_sentence(frames: Sequence[Frame]) -> str:
    """How the groups are ordered."""
    if not any(group.shrunk.has_interval for frame in frames for group in frame.groups):
        return "Groups are ordered by the lowest mark, so the worst-off stand first."
    return (
        "Groups are ordered, the worst-off first, by their share drawn towards the other groups: "
        "the fewer pairs, the further, so that no small group stands first by bad luck alone. "
        "The marks are the plain shares; the table has both."
    )


def drawn_sentences(frames: Sequence[Frame]) -> list[str]:
    """Says which group has the lowest plain share and yet does not stand first."""
    said: dict[str, None] = {}
    for frame in frames:
        known = [g for g in frame.groups if g.estimate.value is not None]
        lowest = min(known, key=lambda g: g.estimate.value or 0.0, default=None)
        if lowest is None or frame.worst is None or lowest.name == frame.worst.name:
            continue
        said[
            f"{isolated(lowest.name)} has the lowest plain share, but of {lowest.n or 0:,} "
            f"pair{'' if lowest.n == 1 else 's'} only: more is known against "
            f"{isolated(frame.worst.name)}."
        ] = None
    return list(said)


def told_sentence(name: str, frame: Frame, overall: Slice) -> str:
    """Which groups of one model are told from all other pairs, allowing for their number."""
    if frame.n_tests < 2:
        return ""
    told = [group for group in frame.groups if group.adjusted is not None and frame.differs(group)]
    middle = overall.estimate.value or 0.0
    lower = [isolated(g.name) for g in told if (g.estimate.value or 0.0) < middle]
    higher = [isolated(g.name) for g in told if (g.estimate.value or 0.0) >= middle]
    found = [
        f"{', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''} ({how})"
        for how, names in (("lower", lower), ("higher", higher))
        if names
    ]
    under = f"Allowing for {frame.n_tests} groups looked at, {isolated(name)} serves"
    if not found:
        return f"{under} no group measurably better or worse than all others."
    level = percent_tick(1 - frame.confidence)
    return (
        f"{under} differently from all other pairs: {'; '.join(found)}. Of groups so named, "
        f"{level} are expected to be named wrongly."
    )


def correction(frames: Sequence[Frame]) -> str:
    """What many intervals at once mean; nothing for few."""
    if any(frame.n_tests > 1 for frame in frames):
        level = percent_tick(1 - frames[0].confidence)
        return (
            "A group counts as better or worse only if that holds allowing for the number of "
            f"groups of its comparison: of groups so named, {level} are expected to be named "
            "wrongly. So the interval of a hollow mark may miss zero."
        )
    total = sum(len(frame.groups) for frame in frames)
    if total <= _FEW:
        return ""
    return (
        f"With {total} intervals, some miss zero by luck alone: these are not corrected for the "
        "number of comparisons."
    )
