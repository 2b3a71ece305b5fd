"""Does the model give the preferred response the higher likelihood? One value a pair.

Ranking accuracy is about what the model would say; reward accuracy about how it moved
from its reference. The second can be perfect while the first is at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import ScoredPairs
from ..errors import DataError, IncompatibleError, ParameterError
from .intervals import Floats

Normalise = Literal["none", "token_mean"]
_MOST_EXCLUDED = 0.05


class SequenceScore(NamedTuple):
    """Log-likelihood of responses.

    Attributes:
        total: ``(N,)``, sum over response tokens, nats.
        length: ``(N,)``, number of response tokens.
        mean: ``(N,)``, per token; ``exp(mean)`` is 1 / perplexity.
    """

    total: Floats
    length: NDArray[np.int64]
    mean: Floats


class RankingAgreement(NamedTuple):
    """Agreement of a model with human rankings of K responses, one value a prompt.

    Attributes:
        ranks: ``(N, K)`` ranks by the model, 1 is best, ties share the best rank.
        exact: ``(N,)`` 1.0 where all K ranks agree; by chance ``1 / K!``.
        pairwise: ``(N,)`` share of the strictly ordered human pairs that the model orders
            alike; NaN without such a pair; by chance 1/2.
        kendall: ``(N,)`` Kendall's tau-b; NaN where one side ties all.
    """

    ranks: NDArray[np.int64]
    exact: Floats
    pairwise: Floats
    kendall: Floats


def sequence_score(token_logps: ArrayLike, response_mask: ArrayLike) -> SequenceScore:
    """Sum and mean of token log-probabilities over the response, in float64.

    Args:
        token_logps: ``(N, T)``, nats; what stands at masked positions is ignored.
        response_mask: ``(N, T)``, 1 at response tokens, 0 at prompt and padding.

    Raises:
        DataError: naming the rows without a response token.

    Example:
        >>> sequence_score([[-1.0, -0.5, -2.0]], [[0, 1, 1]]).total.tolist()
        [-2.5]
    """
    mask = np.asarray(response_mask).astype(np.bool_)
    total = np.where(mask, np.asarray(token_logps, dtype=np.float64), 0.0).sum(axis=-1)
    length = mask.sum(axis=-1)
    refuse_empty(length, "response_mask")
    return SequenceScore(total, length, total / length)


def ranking_accuracy(
    scored: ScoredPairs, *, normalise: Normalise = "none", strict: bool = False
) -> Floats:
    """Whether the chosen response is at least as likely as the rejected one.

    Use it beside reward accuracy and win rate, on pairs the model was not tuned on. Not as
    a training target on its own, and not to compare models with different tokenizers.

    ``R = 1[S(chosen) >= S(rejected)]`` with S the summed log-probability, or its mean over
    tokens. Summed scores favour short responses; an empty response
    is refused because its sum is 0.

    Args:
        scored: N pairs.
        normalise: ``"none"`` for sums, ``"token_mean"`` for means over tokens.
        strict: count equal scores as wrong.

    Returns:
        ``(N,)`` of 1.0, 0.0 and NaN where a score is not finite.

    Raises:
        DataError: for empty responses, or when more than 5 % of the scores are not finite.
        IncompatibleError: for rewards, or if lengths are asked for and missing.

    Example:
        >>> from pluralign import Preferences, ScoredPairs
        >>> rows = [dict(prompt="p", chosen="a", rejected="b")] * 2
        >>> ranking_accuracy(ScoredPairs(Preferences.from_records(rows),
        ...     chosen=[-40.0, -10.0], rejected=[-35.0, -12.0])).tolist()
        [0.0, 1.0]

    Differs from the paper: equal scores count as right, as its text defines; its code
    counts them as wrong (``strict=True``).

    References:
        Chen et al., 2024, arXiv 2405.19534.
    """
    if scored.kind == "reward":
        raise IncompatibleError(
            "ranking_accuracy needs log-probabilities and these scores are rewards; "
            "use reward_accuracy."
        )
    chosen, rejected = response_scores(scored, normalise=normalise)
    return _verdict(chosen > rejected if strict else chosen >= rejected, chosen, rejected)


def reward_accuracy(scored: ScoredPairs, *, normalise: Normalise = "none") -> Floats:
    """Whether the implicit reward, or the reward model's, is higher for the chosen response.

    This is what trainers log as ``rewards/accuracies``. It tells that the policy moved the
    right way from its reference, not that it now ranks the pair rightly.

    Args:
        scored: N pairs with reference scores, or rewards.
        normalise: as in :func:`ranking_accuracy`.

    Returns:
        ``(N,)`` of 1.0, 0.0 (also for equal rewards) and NaN.

    Raises:
        IncompatibleError: if log-probabilities come without a reference.
    """
    if scored.kind != "reward" and scored.ref_chosen is None:
        raise IncompatibleError(
            "reward_accuracy needs reference scores (ref_chosen, ref_rejected); "
            "score the pairs with the reference model too."
        )
    margin = implicit_margin(scored, normalise=normalise)
    return np.where(np.isnan(margin), np.nan, (margin > 0).astype(np.float64))


def implicit_margin(scored: ScoredPairs, *, normalise: Normalise = "none") -> Floats:
    """Log-ratio margin of chosen over rejected ``(N,)`` in nats, before any scale.

    Relative to the reference where there is one: ``log pi/ref(chosen) - log
    pi/ref(rejected)``. For rewards, their difference. Times beta it is the reward margin.

    Args:
        scored: N pairs.
        normalise: as in :func:`ranking_accuracy`.

    Returns:
        ``(N,)``, NaN where a score is not finite.
    """
    chosen, rejected = response_scores(scored, normalise=normalise)
    if scored.kind == "reward" or scored.ref_chosen is None:
        return chosen - rejected
    ref_chosen, ref_rejected = response_scores(scored, normalise=normalise, reference=True)
    return (chosen - ref_chosen) - (rejected - ref_rejected)


def reference_deficit(scored: ScoredPairs, *, normalise: Normalise = "none") -> Floats:
    """How much likelier the reference finds the rejected response, ``c`` ``(N,)`` in nats.

    ``c > 0`` where the reference ranks the pair wrongly; NaN where a score is not finite.

    Raises:
        IncompatibleError: if there are no reference scores.
    """
    chosen, rejected = response_scores(scored, normalise=normalise, reference=True)
    return rejected - chosen


def ranking_accuracy_with_ties(
    score_1: ArrayLike, score_2: ArrayLike, alpha: ArrayLike, tie_tolerance: float = 0.01
) -> Floats:
    """Whether scores order two responses as the majority of several raters did.

    Args:
        score_1: ``(N,)`` scores of the first response: summed log-likelihood in nats, or
            likelihood per token; the tolerance is on the same scale.
        score_2: ``(N,)`` of the second.
        alpha: ``(N,)`` share of raters who preferred the first, in [0, 1]; at exactly 1/2
            the pair is right if the scores are within the tolerance.
        tie_tolerance: >= 0.

    Returns:
        ``(N,)`` of 1.0 and 0.0, NaN where a score is not finite.

    Raises:
        DataError: naming the rows with a share outside [0, 1].

    Example:
        >>> ranking_accuracy_with_ties([-10.0, -3.0], [-10.005, -3.5], [0.5, 0.5]).tolist()
        [1.0, 0.0]
    """
    if not tie_tolerance >= 0:
        raise ParameterError(f"tie_tolerance must be a number >= 0; got {tie_tolerance!r}.")
    first, second = (np.asarray(score, dtype=np.float64) for score in (score_1, score_2))
    share = shares(alpha)
    tied = np.abs(first - second) < tie_tolerance
    right = np.where(share == 0.5, tied, np.where(share > 0.5, first > second, first < second))
    return _verdict(right, first, second)


def ranking_agreement(scores: ArrayLike, human_ranks: ArrayLike) -> RankingAgreement:
    """Compare the order of K scores with a human ranking of the same K responses.

    Prefer ``pairwise`` where human ranks have ties: a model without ties never matches
    them exactly. State the chance level ``1 / K!`` beside ``exact``.

    Args:
        scores: ``(N, K)`` finite, higher is better, K >= 2.
        human_ranks: ``(N, K)``, 1 is best, tied responses share a rank.

    Raises:
        DataError: if the shapes differ or a score is not finite.

    Example:
        >>> found = ranking_agreement([[-5.0, -7.0, -6.0]], [[1, 2, 3]])
        >>> found.ranks.tolist(), found.exact.tolist(), found.pairwise.round(2).tolist()
        ([[1, 3, 2]], [0.0], [0.67])
    """
    score, human = np.asarray(scores, dtype=np.float64), np.asarray(human_ranks)
    if score.ndim != 2 or score.shape != human.shape or score.shape[1] < 2:
        raise DataError(
            f"scores and human_ranks must both be (N, K) with K >= 2; got {score.shape} and "
            f"{human.shape}."
        )
    if not np.isfinite(score).all():
        bad = np.flatnonzero(~np.isfinite(score).all(axis=1)).tolist()
        raise DataError(f"scores are not finite in rows {bad[:5]}; drop them.", rows=bad)
    ranks = 1 + (score[:, None, :] > score[:, :, None]).sum(axis=2)
    first, second = np.triu_indices(score.shape[1], k=1)
    by_model = np.sign(ranks[:, second] - ranks[:, first])
    by_human = np.sign(human[:, second] - human[:, first])
    ordered = (by_human != 0).sum(axis=1)
    scale = np.sqrt(ordered * (by_model != 0).sum(axis=1))
    right = ((by_model == by_human) & (by_human != 0)).sum(axis=1)
    return RankingAgreement(
        ranks,
        (ranks == human).all(axis=1).astype(np.float64),
        np.divide(right, ordered, out=np.full(len(score), np.nan), where=ordered > 0),
        np.divide(
            (by_model * by_human).sum(axis=1),
            scale,
            out=np.full(len(score), np.nan),
            where=scale > 0,
        ),
    )


def response_scores(
    scored: ScoredPairs, *, normalise: Normalise = "none", reference: bool = False
) -> tuple[Floats, Floats]:
    """Scores of the chosen and the rejected responses, by the policy or the reference.

    Returns:
        Two arrays ``(N,)``, NaN in both where a score is not finite.

    Raises:
        DataError: for empty responses, or when more than 5 % of the pairs have a score
            that is not finite.
        IncompatibleError: if scores or lengths are missing.
        ParameterError: for an unknown ``normalise``.
    """
    if normalise not in ("none", "token_mean"):
        raise ParameterError(f"normalise must be one of 'none', 'token_mean'; got {normalise!r}.")
    prefix = "ref_" if reference else ""
    pair: list[Floats] = []
    for side in ("chosen", "rejected"):
        values = _present(scored, f"{prefix}{side}").astype(np.float64)
        if normalise == "token_mean" or getattr(scored, f"{side}_length") is not None:
            length = _present(scored, f"{side}_length")
            refuse_empty(length, f"{side}_length", scored.pairs.source)
            values = values / length if normalise == "token_mean" else values
        pair.append(values)
    bad = ~(np.isfinite(pair[0]) & np.isfinite(pair[1]))
    if bad.mean() > _MOST_EXCLUDED:
        rows = np.flatnonzero(bad).tolist()
        raise DataError(
            f"{len(rows)} of {len(bad)} pairs have a score that is not finite (rows "
            f"{rows[:5]}); more than 5 % may not be left out. Check the model's precision.",
            source=scored.pairs.source,
            rows=rows,
        )
    return np.where(bad, np.nan, pair[0]), np.where(bad, np.nan, pair[1])


def template_mean(scored: Sequence[ScoredPairs]) -> ScoredPairs:
    """The same pairs with scores that are means over several prompt templates.

    Use it where the wording around a prompt is nobody's choice, so that an accuracy does not
    hang on one. Score the pairs once with each template, then average.

    Args:
        scored: one set of pairs, scored with each of T >= 1 templates.

    Returns:
        The pairs of the first, each score the mean ``sum_t S_t / T`` in nats; a score that is
        not finite in one template is not finite in the mean.

    Raises:
        DataError: if there is none.
        IncompatibleError: if they are not scores of one kind, by one beta, of the same pairs
            in one order and of responses of the same lengths.

    Example:
        >>> from pluralign import Preferences, ScoredPairs
        >>> pairs = Preferences.from_records([dict(prompt="p", chosen="a", rejected="b")])
        >>> both = [ScoredPairs(pairs, chosen=[-4.0], rejected=[-5.0]),
        ...     ScoredPairs(pairs, chosen=[-6.0], rejected=[-2.0])]
        >>> template_mean(both).chosen.item(), template_mean(both).rejected.item()
        (-5.0, -3.5)
    """
    if not scored:
        raise DataError("template_mean: there are no scores; give one set for each template.")
    first = scored[0]
    for place, other in enumerate(scored):
        same = {
            "pairs": other.pairs.pair_id == first.pairs.pair_id,
            "kind": other.kind == first.kind,
            "beta": other.beta == first.beta,
            "columns": other.arrays() == first.arrays(),
        }
        same |= {
            name: np.array_equal(getattr(other, name), getattr(first, name))
            for name in ("chosen_length", "rejected_length")
            if same["columns"] and same["pairs"] and name in first.arrays()
        }
        unlike = [name for name, equal in same.items() if not equal]
        if unlike:
            raise IncompatibleError(
                f"the scores of template {place} differ from those of template 0 in "
                f"{', '.join(unlike)}; score the same pairs in the same way with each."
            )
    means = {
        name: np.mean([getattr(one, name) for one in scored], axis=0)
        for name in first.arrays()
        if not name.endswith("_length")
    }
    return replace(first, **means)


def shares(alpha: ArrayLike) -> Floats:
    """Rater shares as float64.

    Raises:
        DataError: naming the rows that are not in [0, 1].
    """
    share = np.asarray(alpha, dtype=np.float64)
    bad = np.flatnonzero(~((share >= 0) & (share <= 1))).tolist()
    if bad:
        raise DataError(
            f"alpha must be a share in [0, 1]; row {bad[0]} has {share.flat[bad[0]]}.", rows=bad
        )
    return share


def refuse_empty(length: NDArray[Any], name: str, source: str = "") -> None:
    """Refuse responses without a token.

    Raises:
        DataError: naming the rows.
    """
    rows = np.flatnonzero(length <= 0).tolist()
    if rows:
        raise DataError(
            f"{name}: {len(rows)} responses have no token (rows {rows[:5]}); drop these pairs.",
            source=source,
            rows=rows,
        )


def _present(scored: ScoredPairs, name: str) -> NDArray[Any]:
    values = getattr(scored, name)
    if values is None:
        raise IncompatibleError(
            f"the scored pairs have no {name}; they have {scored.arrays()}. "
            "Score them with what is missing."
        )
    return values


def _verdict(right: NDArray[np.bool_], first: Floats, second: Floats) -> Floats:
    known = np.isfinite(first) & np.isfinite(second)
    return np.where(known, right.astype(np.float64), np.nan)
