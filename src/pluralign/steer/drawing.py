"""Candidates for many prompts at once: one sampler call, one call of each scorer, a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..engines.sampling.base import Candidate, Prompt, Sampler, SamplingParams
from ..engines.scorers.base import Item, Scorer, Scores
from ..errors import IncompatibleError
from .directions import Neighbours
from .pool import Bools, Scored
from .sphere import Floats


@dataclass(kw_only=True)
class Pool:
    """What has been sampled for one prompt so far; filled in place.

    ``rows`` numbers the direction of each candidate, ``rewards`` are (s, m, d) and ``ok`` is
    (s, m) for s scorers.
    """

    prompt: Prompt
    target: Floats
    neighbours: Neighbours
    rewards: Floats
    ok: Bools
    rows: list[int] = field(default_factory=list[int])
    candidates: list[Candidate] = field(default_factory=list[Candidate])

    @classmethod
    def empty(cls, prompt: Prompt, target: Floats, neighbours: Neighbours, scorers: int) -> Pool:
        """A pool without candidates, for a number of scorers."""
        return cls(
            prompt=prompt,
            target=target,
            neighbours=neighbours,
            rewards=np.empty((scorers, 0, len(target))),
            ok=np.empty((scorers, 0), dtype=np.bool_),
        )


def fill(
    pools: Sequence[Pool],
    sampler: Sampler,
    scorers: Sequence[Scorer],
    params: SamplingParams,
    *,
    per_direction: int,
    judged: Callable[[Pool], Scored],
    stop_above: float | None,
) -> None:
    """Sample and score all directions of all pools.

    Without ``stop_above`` everything goes into one sampler call. With it, round j tries
    direction j of the pools whose best score so far is not above it.
    """
    longest = max((len(pool.neighbours.directions) for pool in pools), default=0)
    rounds = [range(longest)] if stop_above is None else [range(j, j + 1) for j in range(longest)]
    for turn in rounds:
        asked = [
            (pool, row)
            for pool in pools
            if stop_above is None or not pool.rows or judged(pool).scores.max() <= stop_above
            for row in turn
            if row < len(pool.neighbours.directions)
        ]
        if asked:
            _score(asked, _sample(asked, sampler, params, per_direction), scorers)


def _sample(
    asked: Sequence[tuple[Pool, int]], sampler: Sampler, params: SamplingParams, n: int
) -> list[list[Candidate]]:
    """Candidates of each (pool, row); rows of one prompt stand together in the call."""
    n *= asked[0][0].neighbours.repeats
    drawn = sampler.sample(
        [pool.prompt for pool, _ in asked],
        n,
        params,
        np.array([pool.neighbours.directions[row] for pool, row in asked]),
    )
    if [len(each) for each in drawn] != [n] * len(asked):
        raise IncompatibleError(
            f"{sampler.name} was asked for {n} candidates for each of {len(asked)} directions and "
            f"gave {[len(each) for each in drawn][:10]}; a sampler keeps order and number."
        )
    return drawn


def _score(
    asked: Sequence[tuple[Pool, int]], drawn: list[list[Candidate]], scorers: Sequence[Scorer]
) -> None:
    """Score what was sampled without error, and add all of it to the pools."""
    flat = [
        (pool, row, one) for (pool, row), each in zip(asked, drawn, strict=True) for one in each
    ]
    fine = np.array([one.ok for _, _, one in flat], dtype=np.bool_)
    items = [Item(pool.prompt, one.text) for pool, _, one in flat if one.ok]
    results = [_checked(scorer, items) for scorer in scorers]
    rewards = np.full((len(scorers), len(flat), len(results[0].names)), np.nan)
    ok = np.zeros((len(scorers), len(flat)), dtype=np.bool_)
    for s, result in enumerate(results):
        rewards[s, fine], ok[s, fine] = result.values, result.ok
    for pool, row, one in flat:
        pool.rows.append(row)
        pool.candidates.append(one)
    start = 0
    for (pool, _), each in zip(asked, drawn, strict=True):
        part = slice(start, start + len(each))
        pool.rewards = np.concatenate([pool.rewards, rewards[:, part]], axis=1)
        pool.ok = np.concatenate([pool.ok, ok[:, part]], axis=1)
        start += len(each)


def _checked(scorer: Scorer, items: Sequence[Item]) -> Scores:
    scores = scorer.score(items)
    if len(scores) != len(items) or scores.names != scorer.names:
        raise IncompatibleError(
            f"{scorer.name} promised {scorer.names} for {len(items)} responses and gave "
            f"{scores.names} for {len(scores)}."
        )
    return scores
