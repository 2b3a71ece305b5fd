"""Does steering by neighbours help here? Asked before it is used, on held-out prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..engines.sampling.base import Prompt
from ..errors import ParameterError
from ..rules import Within, shown
from .directions import Neighbours
from .gains import Coverage, coverage_of
from .record import Selection
from .remarks import check_prompts
from .selection import DirectionalSelection, Generator, seed_of
from .sphere import Floats, angle_between, unit


def coverage_gain(
    selection: DirectionalSelection,
    prompts: Sequence[Prompt],
    direction: ArrayLike,
    generator: Generator = None,
    *,
    threshold: float = 2.0,
) -> Coverage:
    """Whether candidates from the neighbours score higher at the target than its own do.

    Use it before steering, on prompts that are not used later: fifty show a gain of half a
    within-prompt standard deviation. It costs ``len(prompts)`` times the directions, plus
    the target where the scheme leaves it out. Where it finds none, ``spread=0`` is the
    better use of the same samples. It says nothing about prompts of another kind.

    ``gain_i = mean over prompts of v . r(y_i) - v . r(y_0)``, its standard error paired by
    prompt; it helps if some gain exceeds ``threshold`` of its standard errors. Without any
    true gain, one of four neighbours does so by chance in about one diagnosis of twelve:
    raise the threshold where a false promise is dear.

    Args:
        selection: sampler, scorers and scheme to be diagnosed. ``uniform`` directions are
            drawn once for all prompts.
        prompts: held-out prompts, all different, at least two.
        direction: the target, (d,).
        generator: as in a selection.
        threshold: standard errors that a gain must exceed, >= 0.

    Raises:
        ParameterError: for a threshold out of range; and as a selection.
        DataError: if fewer than two prompts have scores at the target or a neighbour, or a
            prompt is given twice.

    Example:
        >>> from pluralign.datasets.direction_worlds import fading_world
        >>> from pluralign.engines.sampling import ScriptedSampler
        >>> from pluralign.engines.scorers import ScriptedScorer
        >>> world = fading_world(kappa=1.5)
        >>> steered = DirectionalSelection(
        ...     sample=ScriptedSampler(answer=world.answer),
        ...     score=ScriptedScorer(names=world.names, rule=world.rule),
        ...     train_directions=world.train_directions,
        ... )
        >>> prompts = [f"prompt {i}" for i in range(50)]
        >>> coverage_gain(steered, prompts, (0.6, 0.8), 0).helps
        True
        >>> coverage_gain(steered, prompts, (0.8, -0.6), 0).helps  # inside the trained cone
        False

    References:
        Ours; the condition is the paper's first assumption (arXiv 2510.20498).
    """
    if not Within(0.0).admits(threshold):
        raise ParameterError(f"threshold must be a finite number >= 0.0; got {shown(threshold)}.")
    check_prompts(prompts, distinct=True)
    target = unit(direction)
    seed = seed_of(generator, selection.params.seed)
    rows = _target_first(selection.neighbourhood.around(target, seed).directions, target)
    asked = dataclasses.replace(selection, stop_above=None, on_no_gain="ignore", k=len(rows))
    near = Neighbours(directions=rows, repeats=1, scheme=selection.scheme or "toward")
    records = asked.among(prompts, direction, [near] * len(prompts), seed)
    scores = np.array([_by_direction(record, len(rows)) for record in records])
    found = coverage_of(scores.reshape(-1, len(rows)), rows, target, threshold=threshold)
    return dataclasses.replace(found, generations=sum(map(len, records)))


def _target_first(directions: Floats, target: Floats) -> Floats:
    away = np.abs(angle_between(directions, target)) > 1e-7
    return np.vstack([target[None], directions[away]])


def _by_direction(record: Selection, m: int) -> Floats:
    """Mean score of each direction, (m,); NaN where all its candidates failed."""
    scores = np.where(record.ok, record.scores, np.nan).reshape(m, -1)
    good = record.ok.reshape(m, -1).sum(axis=1)
    return np.nansum(scores, axis=1) / np.where(good, good, np.nan)
