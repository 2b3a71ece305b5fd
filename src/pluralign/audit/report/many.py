"""What the report says of many groups at once: how they are ranked, and which are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .fields import Frame
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


def told_sentences(named: Sequence[tuple[str, Frame]]) -> list[str]:
    """Which groups of each model are told from all other pairs, allowing for their number.

    Models of which the same is told share a sentence.
    """
    found: dict[tuple[int, str], list[str]] = {}
    for name, frame in named:
        if frame.n_tests > 1:
            found.setdefault((frame.n_tests, _told(frame)), []).append(isolated(name))
    said = [
        f"Allowing for {n_tests} groups looked at, {listed(names)} "
        f"{'serves' if len(names) == 1 else 'serve'} "
        f"{told or 'no group measurably better or worse'} than all other pairs."
        for (n_tests, told), names in found.items()
    ]
    if any(told for _, told in found):
        level = percent_tick(1 - named[0][1].confidence)
        said[-1] += f" Of groups so named, {level} are expected to be named wrongly."
    return said


def _told(frame: Frame) -> str:
    told = [group for group in frame.groups if group.adjusted is not None and frame.differs(group)]
    middle = frame.overall.estimate.value or 0.0
    worse = [isolated(g.name) for g in told if (g.estimate.value or 0.0) < middle]
    better = [isolated(g.name) for g in told if (g.estimate.value or 0.0) >= middle]
    return " and ".join(
        f"{listed(names)} {how}" for names, how in ((worse, "worse"), (better, "better")) if names
    )


def listed(names: Sequence[str], limit: int = 6) -> str:
    """``a, b and c``, with a count of those left out."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


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
