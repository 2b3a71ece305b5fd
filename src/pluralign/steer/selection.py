"""Robust preference selection: sample under neighbouring directions, choose by the user's own."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from ..engines.sampling.base import Prompt, Sampler, SamplingParams, sample_seed
from ..engines.scorers.base import Scorer
from ..errors import DataError, DataQualityWarning, IncompatibleError, ParameterError
from ..rules import AnyOf, Kind, OneOf, Within, check, shown
from .directions import (
    Count,
    IncludeTarget,
    Law,
    Neighbourhood,
    Neighbours,
    SchemeName,
    Spread,
    Step,
)
from .drawing import Pool, fill
from .gains import Coverage
from .pool import Aggregate, Scored, Standardise, choose, scored_pool
from .record import Selection
from .remarks import check_neighbours, check_prompts, check_records
from .sphere import Floats, angle_between, as_numbers, unit

OnNoGain = Literal["ignore", "warn", "refuse"]
Generator = int | np.random.Generator | None


class Cost(NamedTuple):
    """What a selection asks for; with ``stop_above`` it is the most that it may ask for.

    ``sampler_calls`` take ``generations`` candidates in all; ``scorings`` counts each scorer.
    """

    sampler_calls: int
    generations: int
    scorings: int


@final
@dataclass(frozen=True, kw_only=True)
class DirectionalSelection:
    r"""Samples candidates under directions near the user's own and returns the best by it.

    Use it where a user wants a trade-off that the model was not tuned for and a scorer of
    each attribute is at hand. Do not use it where the wish lies inside the trained region,
    where the scorer is unreliable at the target, or where the model ignores directions:
    there the same number of samples at the target itself is better or equal. Ask
    :func:`coverage_gain` first.

    :math:`y_i \sim \pi(\cdot | x, u_i),\ u_i` near :math:`v;\quad i^* = \arg\max_i v \cdot
    r(x, y_i)`, the first of equals.

    Args:
        sample: where candidates come from.
        score: one scorer with d attributes, or several with the same attributes.
        k: directions, >= 1.
        spread: largest angle from the target, degrees in [0, 180]; 0 is best of k.
        scheme: ``"grid"``, ``"offset"``, ``"uniform"``, ``"toward"``, or ``None`` to choose by
            what is known: see ``Neighbourhood``, also for the next six.
        train_directions: what the model was tuned on, (n, d).
        include_target: whether the target is the first direction; ``None``: all but ``grid``.
        step: degrees, of ``grid`` and ``offset``.
        grid: lowest and highest angle.
        law: of ``uniform``.
        nonnegative: no direction with a negative part.
        per_direction: candidates for each direction, >= 1.
        standardise: ``"pool"`` compares z-scores over the candidates of a prompt.
        aggregate: over several scorers, ``"mean"`` or ``"min"`` (the one that likes it least).
        stop_above: leave out further directions once a score is above this, in the
            scorer's units; one sampler call a direction instead of one for all.
        params: how candidates are drawn.
        on_no_gain: what to do for a target at which ``coverage`` found no gain:
            ``"ignore"``, ``"warn"`` or ``"refuse"``.
        coverage: reports of :func:`coverage_gain`, one for each target to be asked for.

    Raises:
        ParameterError: listing every value or combination out of range.

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
        >>> pick = steered("Why is the sky blue?", (0.6, 0.8), 0)
        >>> pick.best == pick.scores.max().item(), pick.angles_deg.round(1).tolist()
        (True, [0.0, -7.5, -15.0, -22.5, -30.0])
        >>> steered.cost((0.6, 0.8))
        Cost(sampler_calls=1, generations=5, scorings=5)

    Differs from the paper: failed candidates never win; draws, ``toward``, more than two
    attributes, standardisation, several scorers and early stopping are ours.

    References:
        Mao et al., 2026, arXiv 2510.20498. Wang et al., 2024, arXiv 2402.18571.
    """

    sample: Sampler
    score: Scorer | Sequence[Scorer]
    k: Count = 5
    spread: Spread = 30.0
    scheme: SchemeName = None
    train_directions: Sequence[Sequence[float]] | Floats | None = None
    include_target: IncludeTarget = None
    step: Step = 5.0
    grid: tuple[float, float] = (-40.0, 40.0)
    law: Law = "cap"
    nonnegative: Annotated[bool, Kind(bool)] = False
    per_direction: Count = 1
    standardise: Annotated[Standardise, OneOf("none", "pool")] = "none"
    aggregate: Annotated[Aggregate, OneOf("mean", "min")] = "mean"
    stop_above: Annotated[float | None, AnyOf(None, Within())] = None
    params: Annotated[SamplingParams, Kind(SamplingParams)] = field(default_factory=SamplingParams)
    on_no_gain: Annotated[OnNoGain, OneOf("ignore", "warn", "refuse")] = "ignore"
    coverage: tuple[Coverage, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.train_directions, np.ndarray):  # arrays have no equality of their own
            object.__setattr__(self, "train_directions", self.train_directions.tolist())
        check(self)

    def conflicts(self) -> list[str]:
        """Combinations that mean nothing."""
        found = self._unusable()
        if found:
            return found
        names = [scorer.names for scorer in self.scorers]
        if len(set(names)) > 1:
            found.append(f"score must be scorers of the same attributes; got {names}.")
        if self.stop_above is not None and self.standardise == "pool":
            found.append(
                "stop_above needs scores that do not change with later candidates; "
                f"got {self.stop_above} with standardise='pool'."
            )
        return found

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """All scorers, one or several."""
        return tuple(self.score) if isinstance(self.score, Sequence) else (self.score,)

    @property
    def neighbourhood(self) -> Neighbourhood:
        """How directions are drawn."""
        names = [one.name for one in dataclasses.fields(Neighbourhood)]
        return Neighbourhood(**{name: getattr(self, name) for name in names})

    @property
    def baseline(self) -> DirectionalSelection:
        """Best of as many candidates at the target itself, without neighbours."""
        return self.best_of(self.k * self.per_direction)

    def best_of(self, k: int) -> DirectionalSelection:
        """Best of k candidates at the target itself."""
        return dataclasses.replace(
            self,
            k=k,
            per_direction=1,
            spread=0.0,
            scheme=None,
            include_target=True,
            stop_above=None,
            on_no_gain="ignore",
        )

    def __call__(
        self, prompt: Prompt, direction: ArrayLike, generator: Generator = None
    ) -> Selection:
        """The choice for one prompt.

        Args:
            prompt: a text or messages.
            direction: what the user wants of each attribute, (d,), any length but zero.
            generator: seed of all draws, or a generator to draw it from; ``None`` for the
                seed of ``params``.

        Raises:
            ParameterError: for a direction that is none or has no neighbours.
            DataError: if the direction has not one value for each attribute of the scorer,
                or all candidates failed.
            IncompatibleError: for a generator that is none, or where a gain is refused.
        """
        return self.select([prompt], direction, generator)[0]

    def select(
        self, prompts: Sequence[Prompt], directions: ArrayLike, generator: Generator = None
    ) -> list[Selection]:
        """The choice for each of P prompts; all their neighbours in one sampler call.

        What is drawn for a prompt depends on the seed, the prompt and its direction alone.
        A prompt whose candidates all failed has no choice, with a warning.

        Args:
            prompts: P texts or messages.
            directions: one for all, (d,), or one for each, (P, d).
            generator: as in a call.

        Raises:
            as a call; ``DataError`` only if all prompts failed.
        """
        targets = self._targets(prompts, directions)
        seed = seed_of(generator, self.params.seed)
        neighbourhood = self.neighbourhood
        found = [
            neighbourhood.around(target, sample_seed(seed, prompt, 0))
            for prompt, target in zip(prompts, targets, strict=True)
        ]
        return self.among(prompts, directions, found, seed)

    def among(
        self,
        prompts: Sequence[Prompt],
        directions: ArrayLike,
        neighbours: Sequence[Neighbours],
        generator: Generator = None,
    ) -> list[Selection]:
        """As :meth:`select`, among given neighbours for each prompt."""
        targets = self._targets(prompts, directions)
        self._guard(targets)
        if len(prompts):
            check_neighbours(neighbours, targets, self.k, self.spread, self.law)
        seed = seed_of(generator, self.params.seed)
        pools = [
            Pool.empty(prompt, target, near, len(self.scorers))
            for prompt, target, near in zip(prompts, targets, neighbours, strict=True)
        ]
        fill(
            pools,
            self.sample,
            self.scorers,
            dataclasses.replace(self.params, seed=seed),
            per_direction=self.per_direction,
            judged=self._scored,
            stop_above=self.stop_above,
        )
        records = [self._record(pool, seed) for pool in pools]
        check_records(records, self.standardise)
        return records

    def cost(self, directions: ArrayLike) -> Cost:
        """What selecting for these directions, (d,) or (P, d), asks of sampler and scorers."""
        rows = np.atleast_2d(as_numbers(directions, "directions"))
        neighbourhood = self.neighbourhood
        found = [neighbourhood.around(row) for row in self._targets([""] * len(rows), rows)]
        generations = self.per_direction * sum(each.count for each in found)
        longest = max((len(each.directions) for each in found), default=0)
        calls = min(longest, 1) if self.stop_above is None else longest
        return Cost(calls, generations, generations * len(self.scorers))

    def _unusable(self) -> list[str]:
        """What is no neighbourhood, no sampler or no scorer."""
        found: list[str] = []
        try:
            _ = self.neighbourhood
        except ParameterError as error:
            found = [line.removeprefix("Neighbourhood: ") for line in str(error).splitlines()]
        if not isinstance(self.sample, Sampler):
            found.append(f"sample must be a Sampler; got {shown(self.sample)}.")
        wrong = [scorer for scorer in self.scorers if not isinstance(scorer, Scorer)]
        if wrong or not self.scorers:
            found.append(f"score must be a Scorer, or several; got {shown(self.score)}.")
        return found

    def _targets(self, prompts: Sequence[Prompt], directions: ArrayLike) -> Floats:
        """One unit target for each prompt, with as many values as the scorers have names."""
        names = self.scorers[0].names
        check_prompts(prompts)
        rows = as_numbers(directions, "directions")
        rows = np.broadcast_to(rows, (len(prompts), *rows.shape)) if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) != len(prompts):
            raise DataError(
                f"directions must be one, or one for each of {len(prompts)} prompts; got shape "
                f"{np.shape(directions)}."
            )
        if rows.shape[1] != len(names):
            raise DataError(
                f"the direction has {rows.shape[1]} values and the scorer has {len(names)} "
                f"attributes ({', '.join(names)}); give one value for each."
            )
        return np.array([unit(row) for row in rows]).reshape(-1, len(names))

    def _guard(self, targets: Floats) -> None:
        """Obey ``on_no_gain`` for every target."""
        if self.on_no_gain == "ignore":
            return
        for target in np.unique(targets, axis=0):
            found = [report for report in self.coverage if report.is_for(target)]
            if not found:
                raise ParameterError(
                    f"on_no_gain={self.on_no_gain!r} needs a coverage report for the target "
                    f"{shown(target.round(4).tolist())}; make it with coverage_gain on held-out "
                    "prompts and give it as coverage=(report,)."
                )
            if found[-1].helps:
                continue
            if self.on_no_gain == "refuse":
                raise IncompatibleError(f"refused: {found[-1]}")
            warnings.warn(str(found[-1]), DataQualityWarning, stacklevel=4)

    def _scored(self, pool: Pool) -> Scored:
        return scored_pool(
            pool.rewards,
            pool.ok,
            pool.target,
            standardise=self.standardise,
            aggregate=self.aggregate,
        )

    def _record(self, pool: Pool, seed: int) -> Selection:
        scored = self._scored(pool)
        directions = pool.neighbours.directions[pool.rows]
        return Selection(
            prompt=pool.prompt,
            target=pool.target,
            names=self.scorers[0].names,
            directions=directions,
            angles_deg=angle_between(directions, pool.target),
            candidates=tuple(pool.candidates),
            rewards=scored.rewards,
            standardised=scored.standardised,
            ok=scored.ok,
            scores=scored.scores,
            chosen=choose(scored.scores, scored.ok),
            scheme=pool.neighbours.scheme,
            k=self.k,
            spread=float(self.spread),
            seed=seed,
            sampler=self.sample.name,
            scorer=" + ".join(scorer.name for scorer in self.scorers),
            skipped=len(pool.neighbours.directions) - len(set(pool.rows)),
        )


def seed_of(generator: Generator, default: int) -> int:
    """A seed in [0, 2**63): as given, drawn from a generator, or the default.

    Raises:
        IncompatibleError: for another type.
        ParameterError: for an integer out of range.
    """
    if generator is None:
        return default
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(2**63 - 1))
    if isinstance(generator, bool) or not isinstance(generator, (int, np.integer)):
        raise IncompatibleError(
            f"generator must be an integer seed or a numpy Generator; got {shown(generator)}."
        )
    if not 0 <= generator < 2**63:
        raise ParameterError(f"a seed must be in [0, 2**63); got {generator}.")
    return int(generator)
