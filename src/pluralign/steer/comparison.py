"""Neighbours against the target itself, at equal cost: best scores, wins, evidence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import ArrayLike

from ..engines.sampling.base import Prompt, sample_seed
from ..engines.scorers.base import Item, Scorer
from ..errors import DataError, DataQualityWarning
from ..rules import AnyOf, Within, check
from .evidence import Bootstrap, at_one_angle, over_angles
from .record import Selection
from .remarks import check_prompts
from .selection import DirectionalSelection, Generator, seed_of
from .sphere import Floats, as_numbers, unit

Pairs = list[tuple[Selection, Selection]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All records of both arms, and what they show.

    Args:
        targets: unit vectors (A, d).
        arms: for each target, one (steered, baseline) pair a prompt, all in prompt order.
        independent: for each target, scores of all candidates by another scorer, in the
            order of the pairs; ``None`` without one.
        independent_name: of that scorer.
        bootstrap: how intervals are made.
    """

    targets: Floats
    arms: list[Pairs]
    independent: list[list[tuple[Floats, Floats]]] | None = None
    independent_name: str = ""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def report(self) -> dict[str, Any]:
        """Plain values for each target angle, and over all of them.

        ``angles`` holds for each target: ``target``, ``target_deg`` (two dimensions), ``n``
        and ``n_failed`` prompts, ``generations`` of each arm, ``best`` (mean and interval of
        the chosen score: steered, baseline, difference), ``wins``, ``losses``, ``ties`` by
        score with three rates, ``z`` and Wilson's interval, ``mean_words`` of the chosen
        answers, ``neighbours`` (mean score with standard error, and how often it was chosen,
        by angle; of schemes that draw, by whole 5 degrees), ``one_sided`` in words or empty,
        and ``independent`` (the same difference and wins by another scorer, and the
        correlation of the two within prompts). ``overall`` averages over targets; its intervals
        resample prompts with all their targets.
        """
        second = self.independent or [None] * len(self.arms)
        angles = [
            at_one_angle(target, pairs, scores, self.bootstrap)
            for target, pairs, scores in zip(self.targets, self.arms, second, strict=True)
        ]
        first = self.arms[0][0][0]
        return {
            "scheme": first.scheme,
            "k": first.k,
            "spread": first.spread,
            "names": list(first.names),
            "sampler": first.sampler,
            "scorer": first.scorer,
            "independent_scorer": self.independent_name or None,
            "confidence": self.bootstrap.confidence,
            "n_bootstrap": self.bootstrap.draws,
            "angles": angles,
            "overall": over_angles(
                self.arms, self.independent, clusters(self.arms[0]), self.bootstrap
            ),
        }

    def to_json(self) -> dict[str, Any]:
        """The report, and every record of both arms."""
        arms = [
            [{"steered": one.to_json(), "baseline": other.to_json()} for one, other in pairs]
            for pairs in self.arms
        ]
        return {"report": self.report(), "records": arms}


@final
@dataclass(frozen=True, kw_only=True)
class _Options:
    baseline_samples: Annotated[int | None, AnyOf(None, Within(1, None, integer=True))]
    confidence: Annotated[float, Within(0.0, 1.0, closed="neither")]
    n_bootstrap: Annotated[int, Within(100, None, integer=True)]

    def __post_init__(self) -> None:
        check(self)


def compare(
    selection: DirectionalSelection,
    prompts: Sequence[Prompt],
    directions: ArrayLike,
    generator: Generator = None,
    *,
    independent: Scorer | None = None,
    baseline_samples: int | None = None,
    confidence: float = 0.95,
    n_bootstrap: int = 10_000,
) -> Comparison:
    """Steering against best of k at the target, for each direction on all prompts.

    Use it to find out whether neighbours serve a direction better at equal cost. The arms are
    drawn independently. Both are chosen by ``selection.score``, which therefore favours
    whatever it errs on: give another scorer for an honest figure.

    Args:
        selection: the steered arm; its ``baseline`` is the other.
        prompts: distinct prompts.
        directions: targets, (A, d).
        generator: as in a selection.
        independent: scores all candidates of both arms, with the same d attributes or a
            single one; it selects nothing.
        baseline_samples: candidates of the baseline; ``None`` for as many as the steered arm
            generated for that prompt. Another number warns.
        confidence: level of intervals, (0, 1).
        n_bootstrap: resamples of prompts, >= 100.

    Raises:
        ParameterError: for an option out of range.
        DataError: for no prompts or a repeated one, and as a selection.

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
        >>> found = compare(steered, [f"p{i}" for i in range(40)], [(0.6, 0.8)], 0).report()
        >>> found["angles"][0]["wins"] > found["angles"][0]["losses"]
        True

    Differs from the paper: its released commands draw 3 for the baseline against 5.
    """
    options = _Options(
        baseline_samples=baseline_samples, confidence=confidence, n_bootstrap=n_bootstrap
    )
    check_prompts(prompts, distinct=True)
    targets = np.array([unit(r) for r in np.atleast_2d(as_numbers(directions, "directions"))])
    if not len(prompts) or not len(targets):
        raise DataError("a comparison needs at least one prompt and one direction.")
    seed = seed_of(generator, selection.params.seed)
    arms: list[Pairs] = []
    for target in targets:
        steered = selection.select(prompts, target, seed)
        _warn_of_unequal(steered, options.baseline_samples)
        other = sample_seed(seed, "baseline", 0)
        others = matched(selection, steered, other, samples=options.baseline_samples)
        arms.append(list(zip(steered, others, strict=True)))
    scores = None if independent is None else [rescored(independent, pairs) for pairs in arms]
    return Comparison(
        targets=targets,
        arms=arms,
        independent=scores,
        independent_name="" if independent is None else independent.name,
        bootstrap=Bootstrap(confidence, n_bootstrap, seed),
    )


def clusters(pairs: Pairs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A number for each prompt; equal prompts have the same."""
    texts = [json.dumps(one.to_json()["prompt"], sort_keys=True) for one, _ in pairs]
    return np.unique(np.array(texts), return_inverse=True)[1]


def matched(
    selection: DirectionalSelection,
    steered: Sequence[Selection],
    seed: int,
    *,
    samples: int | None = None,
) -> list[Selection]:
    """Best of as many at the target as each prompt had: the baseline at equal cost.

    Args:
        selection: the steered arm.
        steered: what it selected, one for each prompt and target.
        seed: of the baseline's draws.
        samples: candidates of each instead.
    """
    counts = [samples or len(record) for record in steered]
    found: dict[int, Selection] = {}
    for count in sorted(set(counts)):
        rows = [row for row, own in enumerate(counts) if own == count]
        prompts = [steered[row].prompt for row in rows]
        targets = np.array([steered[row].target for row in rows])
        records = selection.best_of(count).select(prompts, targets, seed)
        found |= dict(zip(rows, records, strict=True))
    return [found[row] for row in range(len(steered))]


def rescored(scorer: Scorer, pairs: Pairs) -> list[tuple[Floats, Floats]]:
    """Scores of all candidates by another scorer, NaN where it or the sampler failed.

    Args:
        scorer: with one attribute, or as many as a direction.
        pairs: steered selection and baseline.

    Raises:
        DataError: for a scorer with another number of attributes.
    """
    records = [record for pair in pairs for record in pair]
    fine = [np.array([one.ok for one in record.candidates], dtype=np.bool_) for record in records]
    items = [Item(r.prompt, one.text) for r in records for one in r.candidates if one.ok]
    result = scorer.score(items)
    d = len(records[0].target)
    if len(scorer.names) not in (1, d):
        raise DataError(
            f"the independent scorer has {len(scorer.names)} attributes "
            f"({', '.join(scorer.names)}), the direction has {d} values; "
            "give one with the same attributes or with a single one."
        )
    parts = np.split(result.values, np.cumsum([ok.sum() for ok in fine])[:-1])
    found: list[Floats] = []
    for record, ok, values in zip(records, fine, parts, strict=True):
        scores = np.full(len(ok), np.nan)
        scores[ok] = values[:, 0] if values.shape[1] == 1 else values @ record.target
        found.append(scores)
    return list(zip(found[::2], found[1::2], strict=True))


def _warn_of_unequal(steered: Sequence[Selection], samples: int | None) -> None:
    unequal = [record for record in steered if samples not in (None, len(record))]
    if unequal:
        warnings.warn(
            f"unequal numbers of generations: {len(unequal[0])} steered and "
            f"{samples} of the baseline for {len(unequal)} of {len(steered)} prompts; "
            "the arm that draws more wins more.",
            DataQualityWarning,
            stacklevel=3,
        )
