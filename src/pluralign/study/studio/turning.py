"""What a direction brings: candidates ranked by it, and each group's part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from ...audit.intervals import mean_interval
from ...errors import ParameterError
from ...steer.sphere import Floats, angle_between, angle_of, at_angle, unit
from .candidates import Asked, Candidates

EVERYONE = "all prompts"
_DRAWS = 1000


@final
@dataclass(frozen=True)
class Ranked:
    """A candidate at its rank.

    Args:
        place: number of the candidate in its prompt.
        text: the answer.
        score: rewards along the direction.
        rewards: d rewards, in the scorer's units.
        drawn_under: unit vector (d,).
        times: how often the same was drawn.
    """

    place: int
    text: str
    score: float
    rewards: tuple[float, ...]
    drawn_under: tuple[float, ...]
    times: int


@final
@dataclass(frozen=True)
class Served:
    """What the prompts of one group get from a direction.

    Args:
        name: of the group.
        n: its prompts.
        score: mean over prompts of the best candidate's score along the direction.
        low: lower end of the interval over prompts; ``None`` for a single prompt.
        high: its upper end.
        rewards: mean of each attribute of those best candidates, d numbers.
    """

    name: str
    n: int
    score: float
    low: float | None
    high: float | None
    rewards: tuple[float, ...]


def ranked(asked: Asked, direction: ArrayLike) -> tuple[Ranked, ...]:
    """All candidates of a prompt, the best along a direction first.

    ``score_i = v . r_i`` with the unit vector v; equals stay in the order of drawing.

    Args:
        asked: one prompt.
        direction: (d,), of any length but zero.

    Raises:
        ParameterError: for a direction of zeros, or not one value for each attribute.

    Example:
        >>> one = Asked(number=0, prompt="?", group="", texts=("help", "brief"),
        ...             rewards=np.array([[2.0, 0.0], [0.0, 1.0]]),
        ...             directions=np.array([[1.0, 0.0], [0.0, 1.0]]), times=(1, 1))
        >>> [c.text for c in ranked(one, (1, 0))], [c.text for c in ranked(one, (0.1, 1))]
        (['help', 'brief'], ['brief', 'help'])
    """
    scores = asked.rewards @ _fitting(direction, asked.rewards.shape[1])
    return tuple(
        Ranked(
            place=int(i),
            text=asked.texts[i],
            score=float(scores[i]),
            rewards=tuple(asked.rewards[i].tolist()),
            drawn_under=tuple(asked.directions[i].tolist()),
            times=asked.times[i],
        )
        for i in np.argsort(-scores, kind="stable")
    )


def served(
    found: Candidates, direction: ArrayLike, *, confidence: float = 0.95
) -> tuple[Served, ...]:
    """Each group's mean score of the best candidates, the group that gets least first.

    Use it to see who loses when the direction turns. A score is the scorer's, along this one
    direction: compare groups at one direction, and not the scores of different directions.

    Args:
        found: candidates of a run.
        direction: (d,), of any length but zero.
        confidence: level of the intervals over prompts, in (0, 1).

    Returns:
        A row for each group; one for all prompts where the run names no groups.

    Raises:
        ParameterError: for a direction of zeros, or not one value for each attribute.
    """
    best = _best(found, _fitting(direction, len(found.names))[None])[:, 0]
    v = unit(direction)
    rows = [
        _served(name, best[list(members)], v, confidence)
        for name, members in members_of(found).items()
    ]
    return tuple(sorted(rows, key=lambda row: (row.score, row.name)))


def profile(found: Candidates, directions: Floats) -> dict[str, Floats]:
    """Each group's mean score of the best candidates at many directions.

    Args:
        found: candidates of a run.
        directions: (a, d) unit vectors.

    Returns:
        For each group (and for all prompts, last, where there are groups) an array (a,).
    """
    scores = np.einsum("pad,ad->pa", _best(found, directions), directions)
    rows = {name: scores[list(each)].mean(axis=0) for name, each in members_of(found).items()}
    return {**rows, EVERYONE: scores.mean(axis=0)}


def members_of(found: Candidates) -> Mapping[str, Sequence[int]]:
    """Places of the prompts of each group; of all where the run names no groups."""
    if not found.groups:
        return {EVERYONE: range(len(found.asked))}
    return {
        name or "(no group)": [i for i, one in enumerate(found.asked) if one.group == name]
        for name in found.groups
    }


def nearest(found: Candidates, direction: ArrayLike) -> float:
    """Degrees to the nearest direction that anything was drawn under."""
    return float(np.abs(angle_between(found.sampled, unit(direction))).min())


def angle_range(found: Candidates, beyond: float = 15.0) -> tuple[float, float]:
    """Angles worth turning through: what was drawn under, and a little more to each side.

    Args:
        found: candidates with two attributes.
        beyond: degrees added to each side.
    """
    angles = [angle_of(row) for row in found.sampled]
    low, high = min(angles) - beyond, max(angles) + beyond
    return max(-180.0, 5 * np.floor(low / 5)), min(180.0, 5 * np.ceil(high / 5))


def every_angle(low: float, high: float, n: int = 61) -> tuple[Floats, Floats]:
    """Evenly spaced angles in degrees, (n,), and their directions, (n, 2)."""
    angles = np.linspace(low, high, n)
    return angles, np.array([at_angle(angle) for angle in angles])


def _fitting(direction: ArrayLike, d: int) -> Floats:
    v = unit(direction)
    if len(v) != d:
        raise ParameterError(f"direction must have {d} values, one for each attribute; got {v}.")
    return v


def _best(found: Candidates, directions: Floats) -> Floats:
    """Rewards of each prompt's best candidate at each direction, (P, a, d)."""
    chosen = [one.rewards[(one.rewards @ directions.T).argmax(axis=0)] for one in found.asked]
    return np.array(chosen)


def _served(name: str, best: Floats, v: Floats, confidence: float) -> Served:
    rng = np.random.default_rng(0)
    mean = mean_interval(
        best @ v, None, "bootstrap_t", confidence=confidence, n_draws=_DRAWS, rng=rng
    )
    ends = [float(end) if np.isfinite(end) else None for end in (mean.low, mean.high)]
    rewards = tuple(best.mean(axis=0).tolist())
    return Served(name, len(best), float(mean.value), ends[0], ends[1], rewards)
