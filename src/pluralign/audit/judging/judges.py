"""Judges that compute: any scorer, and a language model that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ...engines.sampling import Candidate, Sampler, SamplingParams
from ...engines.scorers import Item, Scorer
from ...errors import ParameterError
from ...rules import Kind, OneOf, Within, check, shown
from .duels import Duels, Floats, Verdicts
from .replies import TEMPLATE, as_text, check_template, fill, read_reply

Order: TypeAlias = Literal["both", "random"]


@final
@dataclass(frozen=True)
class ScorerJudge:
    """The answer with the higher score wins: a reward model, or any programmatic scorer.

    Use it with another scorer than the one that selected the answers; a system that was
    chosen by a scorer wins under it by construction. Scores do not depend on order, so
    nothing is asked twice.

    ``a wins if w . r(x, a) - w . r(x, b) > tie_within``

    Args:
        scorer: gives d named values for each answer.
        direction: weights ``w`` of the d values; may be left out if d = 1.
        tie_within: smaller differences of score are ties, >= 0.

    Raises:
        ParameterError: for a direction that does not fit the scorer.

    Example:
        >>> from pluralign.engines.scorers import Length
        >>> judge = ScorerJudge(Length())
        >>> judge(Duels(["p", "q"], a=["one two", "one"], b=["one", "two"])).a_wins.tolist()
        [1.0, 0.5]
    """

    scorer: Scorer
    direction: Sequence[float] | None = None
    tie_within: Annotated[float, Within(0.0)] = 0.0

    def __post_init__(self) -> None:
        check(self)
        names = self.scorer.names
        only = (1.0,) if len(names) == 1 else ()
        given = only if self.direction is None else tuple(map(float, self.direction))
        if len(given) != len(names) or not np.isfinite(given).all() or not np.any(given):
            raise ParameterError(
                f"ScorerJudge.direction must have one finite weight for each of {list(names)}, not "
                f"all zero; got {shown(self.direction)}."
            )
        object.__setattr__(self, "direction", given)

    def __call__(self, duels: Duels) -> Verdicts:
        """Score both answers of each duel; a failed score is an error."""
        items = [
            Item(prompt, answer)
            for prompt, *answers in zip(duels.prompt, duels.a, duels.b, strict=True)
            for answer in answers
        ]
        scores = self.scorer.score(items)
        values = np.where(scores.ok, scores.values @ np.array(self.direction), np.nan)
        first, second = values[::2], values[1::2]
        with np.errstate(invalid="ignore"):
            tied = np.abs(first - second) <= self.tie_within
        wins = np.where(tied, 0.5, (first > second).astype(np.float64))
        wins[np.isnan(first) | np.isnan(second)] = np.nan
        reason = "the scorer gave no score"
        errors = [reason if np.isnan(value) else "" for value in wins]
        return Verdicts(wins, errors, self.scorer.name)


@final
@dataclass(frozen=True, kw_only=True)
class ModelJudge:
    """A language model is asked which answer is better, through any sampler.

    Use it where no measure says what matters; check it against people on a sample. Models
    prefer what stands first: with ``order="both"`` each duel is asked both ways, and an
    answer wins only if it wins both; a contradiction is a tie. ``"random"`` asks once, in
    an order drawn by ``seed``, at half the price. ``WinRates.first_shown`` shows the bias
    that is left or that was balanced. Replies that cannot be read, and failed samples, are
    errors, never ties.

    Args:
        sampler: asks the model; its own retries, limits and keys apply.
        criteria: one or two sentences that say what "better" means.
        template: text with ``{prompt}``, ``{first}`` and ``{second}``, and ``{criteria}`` if
            wanted; must make the reply end with ``Verdict: 1``, ``2`` or ``tie``.
        order: ``"both"`` or ``"random"``.
        params: how to sample; temperature 0 and 256 tokens if not given.
        seed: of the random order, >= 0.

    Raises:
        ParameterError: for a template without its fields, or an unknown order.

    Example:
        >>> class Model:  # stands for a ServerSampler or another one
        ...     name = "a model that always prefers the first answer"
        ...     def sample(self, prompts, n, params, directions=None):
        ...         return [[Candidate(text="Verdict: 1")] for _ in prompts]
        >>> judge = ModelJudge(sampler=Model())
        >>> judge(Duels(["2+2?"], a=["4"], b=["5"])).a_wins.tolist()
        [0.5]

    Differs from the paper: Mao et al. ask once in a random order and count unreadable
    replies as ties.

    References:
        Zheng et al., 2023, arXiv 2306.05685 (both orders). Mao et al., 2025, arXiv 2510.20498.
    """

    sampler: Sampler
    criteria: Annotated[str, Kind(str)] = "Say which one serves the person who asked better."
    template: Annotated[str, Kind(str)] = TEMPLATE
    order: Annotated[Order, OneOf("both", "random")] = "both"
    params: SamplingParams | None = None
    seed: Annotated[int, Within(0, integer=True)] = 0

    def __post_init__(self) -> None:
        check(self)
        check_template(self.template)

    def __call__(self, duels: Duels) -> Verdicts:
        """Ask the model about each duel, all questions in one call of the sampler."""
        a_first = self._orders(len(duels))
        rows = np.tile(np.arange(len(duels)), len(a_first))
        flags = np.concatenate(a_first)
        questions = [
            self._question(duels, row, first)
            for row, first in zip(rows.tolist(), flags.tolist(), strict=True)
        ]
        params = self.params or SamplingParams(temperature=0.0, max_tokens=256)
        replies = self.sampler.sample(questions, 1, params)
        read = [_read(candidates[0]) for candidates in replies]
        said = np.array([value for value, _ in read]).reshape(len(a_first), -1)
        errors = np.array([error for _, error in read], dtype=object).reshape(len(a_first), -1)
        for_a = np.where(np.stack(a_first), said, 1 - said)
        return Verdicts(
            _agreed(for_a),
            ["; ".join(dict.fromkeys(filter(None, column))) for column in errors.T],
            self.sampler.name,
            said.mean(axis=0),
        )

    def _orders(self, size: int) -> list[NDArray[np.bool_]]:
        if self.order == "both":
            return [np.ones(size, dtype=bool), np.zeros(size, dtype=bool)]
        return [np.random.default_rng(self.seed).random(size) < 0.5]

    def _question(self, duels: Duels, row: int, a_first: bool) -> str:
        answers = (duels.a[row], duels.b[row])
        first, second = answers if a_first else answers[::-1]
        prompt = as_text(duels.prompt[row])
        fields = {"criteria": self.criteria, "prompt": prompt, "first": first, "second": second}
        return fill(self.template, fields)


def _read(candidate: Candidate) -> tuple[float, str]:
    if not candidate.ok:
        return np.nan, candidate.error or "the sampler failed"
    value = read_reply(candidate.text)
    if value is not None:
        return value, ""
    if candidate.finish == "length":
        return np.nan, "the reply was cut off before a verdict; raise max_tokens"
    return np.nan, f"no verdict in the reply {shown(candidate.text)}"


def _agreed(for_a: Floats) -> Floats:
    """One verdict of several orders ``(K, N)``: a win only if it was one in each."""
    wins, losses = (for_a == 1).all(axis=0), (for_a == 0).all(axis=0)
    verdict = np.where(wins, 1.0, np.where(losses, 0.0, 0.5))
    return np.where(np.isnan(for_a).any(axis=0), np.nan, verdict)
